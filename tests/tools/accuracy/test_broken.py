"""An output of which little is left comes with a red line: which, where it was lost, and what would mend it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevel.tools.accuracy.broken import first_lost, is_broken, is_coarse
from bevel.tools.command.optimize import main
from bevel.tools.report.report import OutputFigures

# One output of weights that one bit holds badly, and one without weights.
COARSE = """agraph (float[1,8] x) => (float[1,4] y, float[1,8] z)
{
    y = Gemm (x, w)
    z = Tanh (x)
}"""
FINE = OutputFigures("y", None, 30.0, 31.0, None, 4, 4, 0)


def model_of(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\n{text}')
    for node in model.graph.node:
        node.name = f"node_{node.output[0]}"
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((8, 4)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return model


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({}, False),
        ({"sqnr_db": None}, False),
        ({"sqnr_db": 9.9}, True),
        ({"values": 3}, True),
        ({"values": 3, "float_values": 3}, False),
        ({"nonfinite": 1}, True),
        ({"agreement": 0.7}, True),
        ({"agreement": 0.8}, False),
        ({"sqnr_db": None, "values": None, "float_values": None}, False),
    ],
)
def test_what_is_broken(changes: dict[str, object], broken: bool) -> None:
    assert is_broken(OutputFigures(**{**vars(FINE), **changes})) is broken


@pytest.mark.parametrize(
    ("changes", "coarse"),
    [
        ({}, False),
        ({"sqnr_db": 19.9}, True),
        ({"sqnr_db": 9.9}, False),  # broken
        ({"sqnr_db": 15.0, "agreement": 1.0}, False),  # its answers are the float model's
        ({"sqnr_db": None}, False),
    ],
)
def test_numbers_with_an_error_of_a_tenth_are_coarse(changes: dict[str, object], coarse: bool) -> None:
    assert is_coarse(OutputFigures(**{**vars(FINE), **changes})) is coarse


def test_the_first_node_below_the_limit_lost_it_and_not_those_beside() -> None:
    model = model_of(
        "agraph (float[2] x) => (float[2] y, float[2] z) { a = Exp (x) b = Sin (a) y = Erf (b) z = Cos (x) }"
    )
    errors = {"node_a": 30.0, "node_b": 5.0, "node_y": -3.0, "node_z": -9.0, "x": 40.0}
    assert first_lost(model, errors, "y") == "node_b"
    assert first_lost(model, {**errors, "x": 2.0}, "y") == "x"
    assert first_lost(model, {"node_a": 30.0, "node_y": 20.0}, "y") == "node_y"
    assert first_lost(model, {}, "y") == "node_y"
    assert first_lost(model, {"node_a": 30.0, "node_b": 20.0}, "y", at_end=True) == "node_y"


def shaped(tmp_path: Path, arguments: list[str]) -> tuple[int, Path]:
    onnx.save(model_of(COARSE), tmp_path / "m.onnx")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "c.npz", allow_pickle=False, x=rng.standard_normal((32, 1, 8)).astype(np.float32))
    output = tmp_path / "out"
    given = [str(tmp_path / "m.onnx"), "--target", "host", "--device", "none", "--calib", str(tmp_path / "c.npz")]
    return main([*given, "-o", str(output), *arguments]), output


def test_a_red_line_names_output_node_and_remedy(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, output = shaped(tmp_path, ["--weights", "binary", "--eval", str(tmp_path / "c.npz")])
    told = capfd.readouterr().out
    assert code == 0
    (line,) = [line for line in told.splitlines() if "is not usable" in line]
    assert line.startswith("output y is not usable: ") and "first lost in node_y (Gemm)" in line
    report = json.loads((output / "report.json").read_text())
    y, z = report["outputs"]
    assert report["accuracy"]["sqnr_db"] == y["sqnr_db"] < 10 < z["sqnr_db"]
    assert y["broke_at"] == "node_y" and y["helps"] and z["helps"] is None


def test_the_red_line_stands_beside_json_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shaped(tmp_path, ["--weights", "binary", "--json"])
    told = capfd.readouterr()
    assert json.loads(told.out)["outputs"][0]["broke_at"] == "node_y"
    assert "output y is not usable: " in told.err


def test_the_remedy_is_one_that_works(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shaped(tmp_path, ["--weights", "binary"])
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "is not usable" in line]
    remedy = line.rpartition("; ")[2]
    assert remedy.startswith("--weights int8 gives")
    again = tmp_path / "again"
    again.mkdir()
    shaped(again, [])
    assert "is not usable" not in capfd.readouterr().out


def test_a_coarse_output_is_told_with_what_makes_it_finer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _ = shaped(tmp_path, ["--weights", "int3", "--eval", str(tmp_path / "c.npz")])
    (line,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("output y")]
    assert code == 0
    assert line.startswith("output y is coarse: SQNR 1") and "; --weights int8 gives " in line
