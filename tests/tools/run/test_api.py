"""`bevel.optimize` is the command: the same options, the same product, and what a library must not do."""

from __future__ import annotations

import inspect
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import bevel
from bevel.tools.command.optimize import main
from bevel.tools.command.parameters import DECLARED
from bevel.tools.report import report
from bevel.tools.run import api, manifest

TARGET = "cortex-m7"
OWN = {report.NAME, manifest.NAME}  # hold seconds, and the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[[], Any], make_samples: Callable[[], Any]):
    """What the command makes of a model in a file, in `out`; the model and the samples beside it."""
    place = tmp_path_factory.mktemp("mine")
    onnx.save(make_model(), place / "model.onnx")
    np.savez(place / "calib.npz", allow_pickle=False, **make_samples())
    words = ["--target", TARGET, "--calib", str(place / "calib.npz"), "--eval", str(place / "calib.npz")]
    words += ["--weights", "int4", "--flash", "1M", "--no-bias-correction", "--quiet"]
    assert main([str(place / "model.onnx"), *words, "-o", str(place / "out")]) == 0
    return place


def test_a_model_and_samples_in_memory_become_what_the_command_makes_of_files(
    folder: Path, tmp_path: Path, make_model: Callable[[], Any], make_samples: Callable[[], Any], capfd: Any
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    filters, stages = list(warnings.filters), []
    given = {name: list(array) for name, array in make_samples().items()}
    told = bevel.optimize(
        make_model(),
        target=TARGET,
        calib=[{name: one[index] for name, one in given.items()} for index in range(len(given["y"]))],
        eval=make_samples(),
        output=tmp_path / "out",
        weights="int4",
        flash="1M",
        bias_correction=False,
        progress=lambda stage, done, total: stages.append((stage, done <= total)),
    )
    assert capfd.readouterr() == ("", "") and list(warnings.filters) == filters
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    made, expected = ({path.name: path for path in place.iterdir()} for place in (tmp_path / "out", folder / "out"))
    assert made.keys() == expected.keys()
    for name in made.keys() - OWN - {"firmware"}:
        assert made[name].read_bytes() == expected[name].read_bytes(), name
    assert replace(told, stages=()) == replace(report.read(folder / "out"), stages=()) and told.stages
    assert told == report.read(tmp_path / "out")
    ours, theirs = manifest.read(tmp_path / "out"), manifest.read(folder / "out")
    assert replace(ours, command="", files={}) == replace(theirs, command="", files={})
    assert ours.command.startswith(f"optimize(..., target='{TARGET}', calib=..., eval=...")
    assert {"load", "observe", "build", "measure"} <= {stage for stage, _ in stages} and all(ok for _, ok in stages)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_every_option_is_a_keyword_and_no_keyword_is_none() -> None:
    names = list(inspect.signature(bevel.optimize).parameters)
    assert names == ["model", *DECLARED, "command", "progress"]
    for name in DECLARED:
        assert f"    {name}" in inspect.getdoc(bevel.optimize).replace("\n", "\n    ")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("wieghts", "no option 'wieghts'; did you mean weights"),
        ("no_bias_correction", "did you mean bias_correction"),
        ("dims", "did you mean dim"),
        ("colour", "help\\(bevel.optimize\\) lists them"),
    ],
)
def test_a_keyword_that_does_not_exist_is_a_type_error_with_names_near_it(name: str, line: str) -> None:
    with pytest.raises(TypeError, match=line):
        bevel.optimize("m.onnx", target="host", output="out", **{name: 1})


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"target": "m4"}, "no target 'm4'; known targets: "),
        ({"vectors": 0}, "--vectors 0"),
        ({"calib": None}, "is a float model: give samples"),
        ({"calib": 3}, "samples are a path"),
        ({"calib": np.zeros((3, 2, 6, 6))}, "samples are a path.*found ndarray"),
        ({"calib": []}, "samples are a path"),
        ({"calib": [{"image": np.zeros((2, 6, 6))}, {}]}, "samples are a path"),
        ({"calib": {"picture": np.zeros((3, 2, 6, 6))}}, "the samples given have arrays 'picture'"),
        ({"calib": {"image": np.zeros((3, 2, 6, 7))}}, r"array 'image' has shape \[3, 2, 6, 7\]"),
        ({"calib": {"image": [[1, 2], [3]]}}, "array 'image': "),
        ({"calib": {"image": np.array(["a", "b"])}}, "array 'image' holds"),
        ({"calib": {"image": np.zeros((0, 2, 6, 6))}}, "the arrays given gives 0 samples"),
        ({"max_flash": "64k", "weights": "int4"}, "one format for all"),
        ({"formats": "int4"}, "give it a budget"),
        ({"model": 3}, "a model is a path or an onnx.ModelProto; found int"),
        ({"model": "no.onnx"}, "no.onnx: no such file"),
        ({"output": "here"}, "here is not empty"),
    ],
)
def test_mistakes_raise_the_line_of_the_command_and_write_nothing(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, given: dict[str, Any], line: str
) -> None:
    monkeypatch.chdir(inputs)
    Path("here").mkdir()
    Path("here/file").touch()
    wanted: dict[str, Any] = {"model": "model.onnx", "target": TARGET, "calib": "calib.npz", "output": "out"} | given
    with pytest.raises(bevel.UserError, match=line):
        bevel.optimize(wanted.pop("model"), **wanted)
    assert sorted(path.name for path in inputs.iterdir()) == ["calib.npz", "here", "model.onnx"]
    assert capfd.readouterr() == ("", "")


def test_a_model_in_memory_has_no_path_in_a_message(inputs: Path, make_model: Callable[[], Any]) -> None:
    with pytest.raises(bevel.UserError, match=r"^the model given is a float model"):
        bevel.optimize(make_model(), target=TARGET, output=inputs / "out")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_is_raised_meanwhile_passes_through_and_nothing_is_half_written(
    inputs: Path, error: type[BaseException]
) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "build":
            raise error

    with pytest.raises(error):
        bevel.optimize(
            inputs / "model.onnx", target=TARGET, calib=inputs / "calib.npz", output=inputs / "out", progress=stop
        )
    assert sorted(path.name for path in inputs.iterdir()) == ["calib.npz", "model.onnx"]


def test_what_the_command_prints_in_red_is_a_warning(inputs: Path) -> None:
    with pytest.warns(bevel.ResultWarning, match="ranges are guesses") as caught:
        bevel.optimize(inputs / "model.onnx", target=TARGET, calib="random", output=inputs / "out", device="none")
    assert caught[0].filename == __file__


def test_runs_of_other_threads_wait(monkeypatch: pytest.MonkeyPatch, inputs: Path) -> None:
    inside: list[int] = []

    def watched(options: object, progress: object) -> tuple[str, list[str]]:
        inside.append(1)
        assert len(inside) == 1
        threading.Event().wait(0.05)
        inside.pop()
        return "done", []

    monkeypatch.setattr(api, "run", watched)
    found: list[object] = []

    def call(number: int) -> None:
        found.append(bevel.optimize(inputs / "model.onnx", target=TARGET, output=inputs / f"{number}"))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["done"] * 3


def test_importing_it_loads_nothing_heavy() -> None:
    program = """
import sys
from bevel import Report, ResultWarning, UserError, optimize
print(*{"numpy", "onnx", "onnxruntime", "tvm", "rich", "click"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_manifest_tells_the_call(tmp_path: Path) -> None:
    given = {"target": "host", "calib": Path("a.npz"), "eval": {"x": [1]}, "dim": {"a": 2}, "max_flash": "64k"}
    called = "optimize('m.onnx', target='host', calib='a.npz', eval=..., dim=..., max_flash='64k')"
    assert api.spelled("m.onnx", given) == called
