"""A metric of the user's own: what it is given, and one line that names the file for whatever is wrong in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bevel.calib.errors import UserError
from bevel.tools.accuracy.metrics.meters import Judging
from bevel.tools.accuracy.metrics.metric import Run
from bevel.tools.accuracy.metrics.script import ScriptMeter, in_file, read_script

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        (tmp_path / "mine.py").write_text(text)
        return tmp_path / "mine.py"

    return written


def figure(file: Path, labels: np.ndarray | None, *runs: Run) -> float:
    meter = ScriptMeter(read_script(file), labels, len(runs))
    for one in runs:
        meter.add(one)
    return meter.value()


def one_run(**outputs: np.ndarray) -> Run:
    return Run({"x": np.ones((2, 3))}, outputs, outputs, None, 2)


def test_outputs_of_all_runs_come_together_batch_first_with_labels_and_inputs(write: Write) -> None:
    file = write("""
def metric(outputs, y, inputs):
    assert outputs["y"].shape == (4, 1) and inputs["x"].shape == (4, 3) and y.tolist() == [1, 2, 3, 4]
    assert outputs["frames"].shape == (2, 5), outputs["frames"].shape  # no batch: one row a run
    return (outputs["y"][:, 0] == y).mean()
""")
    runs = [one_run(y=np.array([[a], [a + 1.0]]), frames=np.zeros(5)) for a in (1.0, 4.0)]
    assert figure(file, np.array([1, 2, 3, 4]), *runs) == 0.5


def test_constants_say_what_the_figure_means(write: Write) -> None:
    given = read_script(write("NAME, UNIT, HIGHER_IS_BETTER = 'wer', '%', False\ndef metric(outputs, y): return 1"))
    assert (given.metric.name, given.metric.unit, given.metric.higher, given.metric.share) == ("wer", "%", False, False)
    assert read_script(write("SHARE = True\nmetric = lambda outputs, y: 1")).metric.name == "mine"


def test_a_script_is_never_taken_for_the_metric_that_it_is_named_after(tmp_path: Path) -> None:
    file = tmp_path / "top1.py"
    file.write_text("UNIT, SHARE = 'share', True\ndef metric(outputs, y): return 0.25")
    script = read_script(file)
    assert script.metric.name == "top1.py" and Judging(script.metric, script).counted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def metric(outputs, y):\n    return outputs['none']", r"mine\.py:2: KeyError: 'none'"),
        ("def metric(outputs, y) return 1", r"mine\.py:1: SyntaxError: "),
        ("import nothing_of_that_name", r"mine\.py:1: ModuleNotFoundError: "),
        ("raise SystemExit(3)", r"mine\.py:1: SystemExit: 3"),
        ("x = 1", r"mine\.py: has no function metric\(outputs, y\)"),
        ("metric = 3", r"mine\.py: has no function metric\(outputs, y\)"),
        ("def metric(outputs): return 1", r"mine\.py: metric\(outputs\) should take \(outputs, y\)"),
        ("def metric(outputs, y): raise SystemExit(2)", r"mine\.py:1: SystemExit: 2"),
        ("def metric(outputs, y): pass", r"mine\.py: metric returned NoneType, and should one number"),
        ("def metric(outputs, y): return float('nan')", r"mine\.py: metric returned nan"),
        ("NAME = 3\ndef metric(outputs, y): return 1", r"mine\.py: NAME is 3, and should be a text"),
        ("def metric(outputs, y):\n    raise ValueError('a\\nb')", r"mine\.py:2: ValueError: a$"),
    ],
)
def test_what_is_wrong_in_the_file_is_one_line_that_names_it(write: Write, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        figure(write(text), None, one_run(y=np.zeros((2, 1))))
    assert "\n" not in str(error.value)


def test_outputs_that_no_disk_holds_are_refused_before_they_are_written() -> None:
    with pytest.raises(UserError, match="outputs for the metric cannot be kept in temporary files"):
        in_file((2**40, 2**10), np.dtype(np.float32))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.py: cannot be read \(No such file"):
        read_script(tmp_path / "none.py")
