"""Models with operators that have no integer form: CPUs run them in float and say so, microcontrollers refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from bevel.passes.partition import spell_floats
from bevel.tools.command.cli import main as bevel
from bevel.tools.command.optimize import main

CORNER = """
<ir_version: 8, opset_import: ["" : 17]>
island (float[N,2,6,6] image) => (float[N,3] scores)
{
    summed = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (image, kernel, offset)
    corner = Trilu (summed)
    pooled = GlobalAveragePool (corner)
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
    onnx.save(make_model(CORNER), inputs / "model.onnx")
    output = inputs.parent / "out"
    assert main(command(inputs, output, "host")) == 0
    assert WARNING in capfd.readouterr().out
    nodes = {node["name"]: node for node in json.loads((output / "report.json").read_text())["nodes"]}
    assert nodes["corner"]["format"] == "float32"
    assert any("Trilu has no integer kernel" in note["text"] for note in nodes["corner"]["notes"])
    assert nodes["summed"]["format"] == nodes["scores"]["format"] == "int8"


def test_a_microcontroller_refuses_and_names_them(
    inputs: Path, make_model: Callable[[str], onnx.ModelProto], capfd: pytest.CaptureFixture[str]
) -> None:
    onnx.save(make_model(CORNER), inputs / "model.onnx")
    output = inputs.parent / "out"
    assert main(command(inputs, output, "cortex-m4")) == 2
    assert "these nodes have no integer kernel: corner (Trilu)" in capfd.readouterr().err
    assert not output.exists()


def test_float_ports_alone_are_no_float_nodes(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(command(inputs, inputs.parent / "out", "host")) == 0
    assert WARNING not in capfd.readouterr().out


CUBIC = """
<ir_version: 8, opset_import: ["" : 19]>
island (float[N,2,6,6] image) => (float[N,4,3,3] small)
{
    summed = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (image, kernel, offset)
    factors = Constant <value = float[4] {1, 1, 0.6, 0.6}> ()
    small = Resize <mode = "cubic"> (summed, "", factors)
}
"""
CLASSES = """
<ir_version: 8, opset_import: ["" : 17]>
classes (float[N,2,6,6] image) => (int64[N] label)
{
    pooled = GlobalAveragePool (image)
    flat = Flatten (pooled)
    label = ArgMax <axis = 1, keepdims = 0> (flat)
}
"""


def test_the_library_itself_is_measured(inputs: Path, make_model: Callable[[str], onnx.ModelProto]) -> None:
    onnx.save(make_model(CUBIC), inputs / "model.onnx")
    output = inputs.parent / "out"
    assert main([*command(inputs, output, "host"), "--eval", str(inputs / "calib.npz")]) == 0
    report = json.loads((output / "report.json").read_text())
    library, accuracy = report["library"], report["accuracy"]
    assert library["samples"] == accuracy["samples"] == 12
    assert abs(library["sqnr_db"] - accuracy["sqnr_db"]) < 0.1
    assert library["integer_db"] is None or library["integer_db"] > 100  # last bits
    assert bevel(["measure", str(output), "--json"]) == 0


def test_class_numbers_of_the_library_are_counted(inputs: Path, make_model: Callable[[str], onnx.ModelProto]) -> None:
    onnx.save(make_model(CLASSES), inputs / "model.onnx")
    output = inputs.parent / "out"
    assert main([*command(inputs, output, "host"), "--eval", str(inputs / "calib.npz")]) == 0
    report = json.loads((output / "report.json").read_text())
    accuracy = report["accuracy"]
    assert (accuracy["float"] is None and accuracy["labels_unused"] is None) or accuracy["labels"] == "label"
    assert accuracy["sqnr_db"] is None and accuracy["agreement"] > 0.5
    if report["library"] is not None:
        assert report["library"]["far"] == 0


def test_an_island_that_computes_something_else_is_refused_and_nothing_written(
    inputs: Path,
    make_model: Callable[[str], onnx.ModelProto],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(spell_floats.RULES, "Resize")
    onnx.save(make_model(CUBIC), inputs / "model.onnx")
    output = inputs.parent / "out"
    assert main(command(inputs, output, "host")) == 2
    assert "error: small (Resize) has no integer kernel here, and its float code is wrong" in capfd.readouterr().err
    assert not output.exists()
