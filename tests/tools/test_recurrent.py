"""Recurrent networks from a float model to the device: the same integers on this machine and on a simulated core."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bevel import optimize

STEPS, INPUTS, UNITS, SAMPLES = 12, 5, 9, 40
HEAD = """last = Gather <axis = 0> (y, end)
    m = Transpose <perm = [1, 0, 2]> (last)
    flat = Flatten (m)
    z = Gemm (flat, head)"""
# Bodies, rows of weights for a unit, directions, and the least decibels of the results. Both networks lose most in the
# int8 of what their head reads and makes.
NETWORKS = {
    "gru": (f"y, h = GRU <hidden_size = {UNITS}, linear_before_reset = 1> (t, w, r, b)\n {HEAD}", 3, 1, 35.0),
    "lstm both ways": (
        f'y, h, c = LSTM <hidden_size = {UNITS}, direction = "bidirectional"> (t, w, r, b)\n {HEAD}',
        *(4, 2, 35.0),
    ),
    "a gru behind an lstm": (
        f"""one, g = LSTM <hidden_size = {UNITS}> (t, w, r, b)
        a = Squeeze (one, axis)
        y, h = GRU <hidden_size = {UNITS}> (a, v, s)
        {HEAD}""",
        *(4, 1, 35.0),
    ),
}


def network(body: str, rows: int, ways: int) -> onnx.ModelProto:
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    net (float[N,{STEPS},{INPUTS}] x) => (float[N,3] z) <int64 end = {{{STEPS - 1}}}, int64[1] axis = {{1}}>
    {{ t = Transpose <perm = [1, 0, 2]> (x)\n {body} }}"""
    made = onnx.parser.parse_model(text)
    rng = np.random.default_rng(4)
    weights = {
        "w": rng.standard_normal((ways, rows * UNITS, INPUTS)) / np.sqrt(INPUTS),
        "r": rng.standard_normal((ways, rows * UNITS, UNITS)) / np.sqrt(UNITS),
        "b": 0.3 * rng.standard_normal((ways, 2 * rows * UNITS)),
        "v": rng.standard_normal((1, 3 * UNITS, UNITS)) / np.sqrt(UNITS),
        "s": rng.standard_normal((1, 3 * UNITS, UNITS)) / np.sqrt(UNITS),
        "head": rng.standard_normal((ways * UNITS, 3)),
    }
    for name, array in weights.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    return made


@pytest.mark.parametrize("target", ["host", "cortex-m7"])
@pytest.mark.parametrize(("body", "rows", "ways", "least"), NETWORKS.values(), ids=NETWORKS)
def test_a_device_computes_what_integer_onnx_says(
    body: str, rows: int, ways: int, least: float, target: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    data = {"x": np.cumsum(0.4 * rng.standard_normal((SAMPLES, STEPS, INPUTS)), axis=1).astype(np.float32)}
    report = optimize(network(body, rows, ways), target=target, calib=data, eval=data, output=tmp_path / "out")
    assert report.measurement is not None and report.measurement.mismatches == 0
    assert report.accuracy is not None and report.accuracy.sqnr_db >= least
    kernels = {node.kernel for node in report.nodes if node.op in ("LSTM", "GRU")}
    plain = {op.title() for op in ("LSTM", "GRU") if f"{op} <" in body}
    assert kernels == (plain if target == "host" else {"RecurrentDsp"})
