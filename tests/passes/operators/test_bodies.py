"""The integer arithmetic of function bodies in onnxruntime is that of `bevel.calib.arithmetic.requantize`."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel.calib.arithmetic.requantize import Output, requantize
from bevel.passes.operators.base import DOMAIN, Function
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE

TEXT = f"""
<ir_version: 10, opset_import: ["" : 21, "{DOMAIN}" : 1]>
g (int64[N] accumulator, int32 multiplier, int8 shift) => (int8[N] y) {{
  y = {DOMAIN}.Requantize <zero_point = -5, low = -100, high = 90, y_type = 3> (accumulator, multiplier, shift)
}}
"""


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    model = onnx.parser.parse_model(TEXT)
    inputs = ("accumulator", "multiplier", "shift")
    model.functions.append(Function("Requantize", OUTPUT_ATTRIBUTES, inputs, REQUANTIZE).proto(21))
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("magnitude", [2**8, 2**29, 2**31, 2**32, 2**33, 2**40])
def test_sums_of_every_size_are_clamped_as_the_reference_clamps_them(
    session: ort.InferenceSession, magnitude: int
) -> None:
    edges = [bound * sign + step for bound in (magnitude, 2**31, 2**32) for sign in (-1, 1) for step in (-1, 0, 1)]
    sums = np.array([*edges, *np.random.default_rng(0).integers(-magnitude, magnitude, 500)], np.int64)
    multiplier, shift = np.array(2, np.int32), np.array(1, np.int8)
    (got,) = session.run(None, {"accumulator": sums, "multiplier": multiplier, "shift": shift})
    assert np.array_equal(got, requantize(sums, multiplier, shift, Output(-5, -100, 90)))
