"""Models with operators that have no integer form: CPUs run them in float and say so, microcontrollers refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from bevel.tools.optimize import main

NORMALIZED = """
<ir_version: 8, opset_import: ["" : 17]>
island (float[N,2,6,6] image) => (float[N,3] scores)
{
    summed = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (image, kernel, offset)
    gamma = Constant <value = float[6] {1, 1, 1, 1, 1, 1}> ()
    normal = LayerNormalization (summed, gamma)
    pooled = GlobalAveragePool (normal)
    flat = Flatten (pooled)
    scores = Gemm (flat, weights, bias)
}
"""
WARNING = "some nodes run in float"


def command(inputs: Path, output: Path, target: str) -> list[str]:
    return [str(inputs / "model.onnx"), "--target", target, "--calib", str(inputs / "calib.npz"), "-o", str(output)]


def test_a_cpu_runs_them_in_float_and_says_which(
    inputs: Path, make_model: Callable[[str], onnx.ModelProto], capfd: pytest.CaptureFixture[str]
) -> None:
    onnx.save(make_model(NORMALIZED), inputs / "model.onnx")
    output = inputs.parent / "out"
    assert main(command(inputs, output, "host")) == 0
    assert WARNING in capfd.readouterr().out
    nodes = {node["name"]: node for node in json.loads((output / "report.json").read_text())["nodes"]}
    assert nodes["normal"]["format"] == "float32"
    assert any("LayerNormalization has no integer kernel" in note for note in nodes["normal"]["notes"])
    assert nodes["summed"]["format"] == nodes["scores"]["format"] == "int8"


def test_a_microcontroller_refuses_and_names_them(
    inputs: Path, make_model: Callable[[str], onnx.ModelProto], capfd: pytest.CaptureFixture[str]
) -> None:
    onnx.save(make_model(NORMALIZED), inputs / "model.onnx")
    output = inputs.parent / "out"
    assert main(command(inputs, output, "cortex-m4")) == 2
    assert "normal (LayerNormalization)" in capfd.readouterr().err
    assert not output.exists()


def test_float_ports_alone_are_no_float_nodes(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(command(inputs, inputs.parent / "out", "host")) == 0
    assert WARNING not in capfd.readouterr().out
