"""A QONNX file goes through `optimize` like any other; `bevel export-qonnx` writes one from what came out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevel.tools.command import cli, optimize
from bevel.tools.command.entry import run

QONNX = """
<ir_version: 8, opset_import: ["" : 13, "qonnx.custom_op.general" : 1]>
small (float[N,2,6,6] image) => (float[N,3] scores)
<float step = {0.05}, float zero = {0.0}, float four = {4.0}, float eight = {8.0}>
{
    read = qonnx.custom_op.general.Quant <signed = 1, narrow = 0> (image, step, zero, eight)
    kept = qonnx.custom_op.general.Quant <signed = 1, narrow = 1> (kernel, step, zero, four)
    summed = Conv (read, kept)
    positive = Relu (summed)
    few = qonnx.custom_op.general.Quant <signed = 0, narrow = 0> (positive, step, zero, four)
    flat = Flatten (few)
    signs = qonnx.custom_op.general.BipolarQuant (weights, step)
    product = MatMul (flat, signs)
    biased = Add (product, bias)
    scores = qonnx.custom_op.general.Quant <signed = 1, narrow = 0> (biased, step, zero, eight)
}
"""
SHAPES = {"kernel": (4, 2, 3, 3), "weights": (64, 3), "bias": (3,)}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model(QONNX)
    rng = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        model.graph.initializer.append(
            onnx.numpy_helper.from_array((0.2 * rng.standard_normal(shape)).astype(np.float32), name)
        )
    onnx.save(model, tmp_path / "trained.onnx")
    return tmp_path / "trained.onnx"


def optimized(model: Path, output: Path, target: str) -> dict:
    command = [str(model), "--target", target, "-o", str(output), "--vectors", "2"]
    assert run(optimize.command, command) == 0
    return json.loads((output / "report.json").read_text())


@pytest.mark.parametrize("target", ["host", "cortex-m7"])
def test_a_qonnx_model_runs_on_the_device_as_its_integer_graph_says(trained, tmp_path, target) -> None:
    report = optimized(trained, tmp_path / "out", target)
    assert report["measurement"]["mismatches"] == 0
    assert {node["op"] for node in report["nodes"]} >= {"Conv", "Gemm"}


def test_a_result_without_a_quantizer_runs_in_integers_too(trained, tmp_path) -> None:
    model = onnx.load(trained)
    del model.graph.node[-1]
    model.graph.output[0].name = "biased"
    onnx.save(model, tmp_path / "open.onnx")
    assert optimized(tmp_path / "open.onnx", tmp_path / "out", "cortex-m7")["measurement"]["mismatches"] == 0


def test_what_optimize_wrote_goes_out_as_qonnx_and_comes_in_again(trained, tmp_path, capsys) -> None:
    optimized(trained, tmp_path / "out", "host")
    assert run(cli.group, ["export-qonnx", str(tmp_path / "out"), "-o", str(tmp_path / "again.onnx")]) == 0
    assert "5 quantizers" in capsys.readouterr().out
    report = optimized(tmp_path / "again.onnx", tmp_path / "second", "host")
    assert report["measurement"]["mismatches"] == 0
    first, second = (np.load(tmp_path / folder / "vectors.npz") for folder in ("out", "second"))
    assert first.files == second.files
    for name in first.files:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_float_model_and_the_file_itself_are_refused(inputs, trained, tmp_path, capsys) -> None:
    assert run(cli.group, ["export-qonnx", str(inputs / "model.onnx"), "-o", str(tmp_path / "x.onnx")]) == 2
    assert "no quantizers" in capsys.readouterr().err
    assert not (tmp_path / "x.onnx").exists()
    assert run(cli.group, ["export-qonnx", str(trained), "-o", str(trained)]) == 2
    assert "is the model itself" in capsys.readouterr().err
