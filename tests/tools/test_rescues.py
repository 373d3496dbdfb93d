"""What int8 would lose is kept by `optimize` without being asked: on the simulated core, and in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bevel.tools.command.optimize import main

Array = NDArray[np.float32]
LOGARITHM = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1,1,40] x, float[4,1,8] w, float tiny, float[3,4,3] v) => (float[1,3,31] y) {
  c = Conv (x, w)
  q = Mul (c, c)
  e = Add (q, tiny)
  l = Log (e)
  y = Conv (l, v)
}
"""
MASKED = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1,6,8] x, float[8,6] w, float[6,6] mask, float[6,3] v) => (float[1,6,3] y) {
  s = MatMul (x, w)
  m = Add (s, mask)
  p = Softmax (m)
  y = MatMul (p, v)
}
"""


def loud(rng: np.random.Generator) -> Array:
    """Signals of very different loudness."""
    gains = 10.0 ** rng.uniform(-2.5, 0, (16, 1, 1))
    return (gains * rng.standard_normal((16, 1, 40))).astype(np.float32)


def even(rng: np.random.Generator) -> Array:
    return rng.standard_normal((16, 6, 8)).astype(np.float32)


def optimized(folder: Path, text: str, given: dict[str, Any], x: Array, *options: str) -> Any:
    """The report of a run on a simulated Cortex-M4."""
    model, rng = onnx.parser.parse_model(text), np.random.default_rng(1)
    for value in list(model.graph.input)[1:]:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        array = np.asarray(given.get(value.name, 0.5 * rng.standard_normal(shape)), np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        model.graph.input.remove(value)
    onnx.save(model, folder / "model.onnx")
    np.savez(folder / "data.npz", allow_pickle=False, x=x)
    data = str(folder / "data.npz")
    where = ["--target", "cortex-m4", "--calib", data, "--eval", data, "-o", str(folder / "out")]
    assert main([str(folder / "model.onnx"), *where, *options]) == 0
    return json.loads((folder / "out" / "report.json").read_text())


@pytest.mark.parametrize(
    ("text", "given", "draw", "said"),
    [
        (LOGARITHM, {"tiny": 1e-6}, loud, "int8 of it alone leaves"),
        (MASKED, {"mask": np.triu(np.full((6, 6), -1e9), 1)}, even, "part of the operator that ends in p"),
    ],
    ids=["a logarithm of powers", "a mask before a softmax"],
)
def test_the_report_has_the_accuracy_and_the_reason(
    text: str, given: dict[str, Any], draw: Callable[[np.random.Generator], Array], said: str, tmp_path: Path
) -> None:
    report = optimized(tmp_path, text, given, draw(np.random.default_rng(0)))
    assert report["accuracy"]["sqnr_db"] > 30
    assert report["measurement"]["mismatches"] == 0
    assert said in json.dumps(report["nodes"])
