"""`--metric` and `--metric-script` in whole runs: figures of all three models, budgets, and refusals in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bevel.tools.command.optimize import main

VOCABULARY, WINDOW = 12, 6
LANGUAGE = f"""
<ir_version: 8, opset_import: ["" : 17]>
net (int64[N,{WINDOW}] input_ids) => (float[N,{WINDOW},{VOCABULARY}] logits)
{{
    embedded = Gather (table, input_ids)
    logits = MatMul (embedded, head)
}}
"""
CODER = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,4] x) => (float[N,4] z)
{
    y = MatMul (x, w)
    z = MatMul (y, v)
}
"""


def saved(place: Path, text: str, **constants: np.ndarray) -> Path:
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()
    )
    onnx.save(model, place)
    return place


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says what follows an id in a cycle of ids, and windows of that cycle."""
    place, rng = tmp_path_factory.mktemp("language"), np.random.default_rng(0)
    table = rng.standard_normal((VOCABULARY, 16))
    saved(place / "model.onnx", LANGUAGE, table=table, head=2 * np.linalg.pinv(table)[:, np.arange(-1, 11)])
    np.savez(place / "ids.npz", input_ids=(np.arange(20)[:, None] + np.arange(WINDOW)) % VOCABULARY, allow_pickle=False)
    return place


@pytest.fixture(scope="module")
def coder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder of numbers in a plane, and 12 recordings of 3 windows, in the plane and not."""
    place, rng = tmp_path_factory.mktemp("coder"), np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((4, 2)))[0]
    saved(place / "model.onnx", CODER, w=basis, v=basis.T)
    y = np.arange(12) % 2
    x = rng.standard_normal((36, 2)) @ basis.T + np.repeat(y, 3)[:, None] * rng.standard_normal((36, 4))
    np.savez(place / "x.npz", x=x.astype(np.float32), y=y, allow_pickle=False)
    np.savez(place / "calib.npz", x=x.astype(np.float32), allow_pickle=False)
    return place


def command(place: Path, calib: str, evaluation: str, output: Path, *options: str) -> list[str]:
    data = ["--calib", str(place / calib), "--eval", str(place / evaluation)]
    return [str(place / "model.onnx"), "--target", "host", *data, "-o", str(output), "--device", "none", *options]


def told(output: Path) -> Any:
    return json.loads((output / "report.json").read_text())["accuracy"]["metric"]


def test_perplexity_of_all_three_models(language: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ("--metric", "perplexity", "--max-drop", "50", "--formats", "int8,int4")
    assert main(command(language, "ids.npz", "ids.npz", tmp_path / "out", *options)) == 0
    found, shown = told(tmp_path / "out"), capfd.readouterr().out
    right = np.exp(2.0) / (np.exp(2.0) + VOCABULARY - 1)
    assert found["float"] == pytest.approx(1 / right, rel=1e-5)
    assert 0 < abs(found["integer"] - found["float"]) <= 0.5 * found["float"]
    assert (found["name"], found["unit"], found["better"]) == ("perplexity", "", "lower")
    assert found["told"] == "exp of the mean cross entropy of 100 next tokens, the input shifted by one"
    assert "perplexity float" in shown and f"{found['integer']:.5g}" in shown
    budget = json.loads((tmp_path / "out" / "report.json").read_text())["assignment"]["budgets"][0]
    assert budget["unit"] == "percent of float's"
    assert budget["measured"] == pytest.approx(100 * (found["integer"] / found["float"] - 1))


def test_auc_of_an_autoencoder_over_recordings(coder: Path, tmp_path: Path) -> None:
    assert main(command(coder, "calib.npz", "x.npz", tmp_path / "out", "--metric", "auc", "--eval-samples", "31")) == 0
    found = told(tmp_path / "out")
    assert found["float"] == found["integer"] == 1.0
    assert found["told"].endswith("mean squared error of output and input, the mean of 3 samples for each `y`")


def test_without_a_metric_it_is_sqnr_where_nothing_is_labelled(coder: Path, tmp_path: Path) -> None:
    assert main(command(coder, "calib.npz", "calib.npz", tmp_path / "out")) == 0
    found = told(tmp_path / "out")
    assert (found["name"], found["unit"], found["float"]) == ("sqnr", "dB", None) and found["integer"] > 20


def test_a_script_sees_every_model(coder: Path, tmp_path: Path) -> None:
    script = tmp_path / "largest.py"
    script.write_text("UNIT = 'V'\ndef metric(outputs, y):\n    return abs(outputs['z'][len(y) * 3 - 1]).max()\n")
    options = ("--metric-script", str(script))
    assert main(command(coder, "calib.npz", "x.npz", tmp_path / "out", *options)) == 0
    found = told(tmp_path / "out")
    assert (found["name"], found["unit"]) == ("largest", "V")
    assert found["integer"] == pytest.approx(found["float"], rel=0.05) and found["integer"] != found["float"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--metric", "auc", "--metric-script", "x.py"), "--metric and --metric-script: give one of them"),
        (("--metric", "top1"), "--metric top1: --eval has no class labels `y` for an output"),
        (("--metric", "perplexity"), "output z is [1, 4]; logits are [batch, sequence, vocabulary]"),
        (("--metric", "auc"), "--metric auc: --eval has no `y`"),
        (("--metric", "perplexity", "--min-accuracy", "0.5"), "--min-accuracy is a share from 0 to 1"),
        (("--metric", "sqnr", "--max-drop", "0.5"), "give --min-sqnr DB"),
        (("--metric", "mse", "--max-drop", "0.5"), "the float model's own figure is 0"),
        (("--metric-script", "none.py"), "none.py: cannot be read"),
    ],
)
def test_a_metric_that_cannot_be_meant_is_refused_in_one_line(
    coder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert main(command(coder, "calib.npz", "calib.npz", tmp_path / "out", *options)) == 2
    error = capfd.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_script_that_fails_at_the_end_leaves_nothing(
    coder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "mine.py"
    script.write_text("def metric(outputs, y):\n    return outputs['logits'].sum()\n")
    options = ("--metric-script", str(script))
    assert main(command(coder, "calib.npz", "calib.npz", tmp_path / "out", *options)) == 2
    assert f"error: {script}:2: KeyError: 'logits'\n" == capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_metric_without_samples_is_refused(coder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = [str(coder / "model.onnx"), "--target", "host", "--calib", str(coder / "calib.npz")]
    assert main([*given, "-o", str(tmp_path / "out"), "--metric", "mse"]) == 2
    assert capfd.readouterr().err == "error: --metric is measured: give samples with --eval FILE\n"
