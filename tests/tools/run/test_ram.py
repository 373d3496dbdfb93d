"""`--max-ram` is kept, or refused with what can be reached; a bundle remembers what it runs in bands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bevel.tools.command import cli
from bevel.tools.command.optimize import main

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
wide (float[N,24,24,2] image) => (float[N,3] scores)
{
    first = Transpose <perm = [0,3,1,2]> (image)
    widened = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (first, kernel)
    positive = Relu (widened)
    again = Conv <kernel_shape = [3,3], pads = [1,1,1,1], group = 8> (positive, depthwise)
    smaller = MaxPool <kernel_shape = [2,2], strides = [2,2]> (again)
    pooled = GlobalAveragePool (smaller)
    flat = Flatten (pooled)
    scores = Gemm (flat, weights, bias)
}
"""
WEIGHTS = {"kernel": (8, 2, 3, 3), "depthwise": (8, 1, 3, 3), "weights": (8, 3), "bias": (3,)}
WIDEST = 24 * 24 * 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose image grows fourfold in its first layer, and samples for it."""
    place = tmp_path_factory.mktemp("wide")
    model = onnx.parser.parse_model(TEXT)
    rng = np.random.default_rng(0)
    for name, shape in WEIGHTS.items():
        values = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    for node in model.graph.node:
        node.name = node.output[0]
    onnx.save(model, place / "model.onnx")
    np.savez(place / "calib.npz", allow_pickle=False, image=rng.standard_normal((8, 24, 24, 2)).astype(np.float32))
    return place


def command(folder: Path, output: Path, *options: str) -> list[str]:
    required = [str(folder / "model.onnx"), "--target", "cortex-m4", "--calib", str(folder / "calib.npz")]
    return [*required, "-o", str(output), "--inputs", "quantized", "--vectors", "2", *options]


@pytest.fixture(scope="module")
def small(folder: Path) -> Path:
    """A bundle that must do with less than two of its widest images."""
    assert main(command(folder, folder / "small", "--max-ram", "6k")) == 0
    return folder / "small"


def report_of(output: Path) -> Any:
    return json.loads((output / "report.json").read_text())


def test_a_limit_is_kept_by_all_of_ram(folder: Path, small: Path) -> None:
    assert main(command(folder, folder / "plain")) == 0
    plain, told = report_of(folder / "plain"), report_of(small)
    assert plain["size"]["arena_bytes"] >= 2 * WIDEST
    assert told["size"]["ram_bytes"] <= 6 * 1024
    assert (small / "integer.onnx").read_bytes() == (folder / "plain" / "integer.onnx").read_bytes()


def test_the_core_computes_the_same_in_bands(small: Path) -> None:
    measured = report_of(small)["measurement"]
    assert measured["mismatches"] == 0 and measured["inputs"] == 2


def test_a_node_in_bands_is_one_line_of_the_report_and_says_so(small: Path) -> None:
    told = report_of(small)
    lines = [(kernel["node"], kernel["kernel"]) for kernel in told["measurement"]["per_kernel"]]
    assert len(lines) == len(set(lines))
    notes = [note for node in told["nodes"] for note in node["notes"] if "bands of rows" in note["text"]]
    assert notes
    costs = [kernel["instructions"] for kernel in told["measurement"]["per_kernel"]]
    assert 0 < sum(costs) <= told["measurement"]["instructions"]


def test_a_bundle_in_bands_is_measured_with_other_inputs(folder: Path, small: Path) -> None:
    assert cli.main(["measure", str(small), "--data", str(folder / "calib.npz"), "--vectors", "2"]) == 0


def test_a_limit_out_of_reach_is_refused_with_what_can_be_reached(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder, tmp_path / "out", "--max-ram", "1500")) == 2
    said = capsys.readouterr().err
    assert "needs at least" in said and "--max-ram leaves 1,500" in said and "most is live at" in said
    assert not (tmp_path / "out").exists()


def test_a_target_with_little_ram_needs_no_asking(folder: Path, tmp_path: Path) -> None:
    assert main(command(folder, tmp_path / "out", "--ram", "30k")) == 0
    told = report_of(tmp_path / "out")
    assert told["size"]["arena_bytes"] < 2 * WIDEST and told["measurement"]["mismatches"] == 0
