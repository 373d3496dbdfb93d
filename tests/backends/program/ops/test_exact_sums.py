"""References add products up exactly, also those that float64 does not hold."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.backends.program.op import Op
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.conv_transpose import ConvTranspose
from bevel.backends.program.ops.mat_mul import product
from bevel.calib.arithmetic.requantize import Output

STEPS = Output(0, -(2**31), 2**31 - 1, "int32")
N = 2**30 + 1
X, W = np.array([N + 1, N], np.int32), np.array([N + 1, -N - 2], np.int32)
WINDOW = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "groups": 1, "x_zero_point": 0}
PLAIN = np.zeros(1, np.int64), np.ones(1, np.int32), np.zeros(1, np.int8)  # bias, multiplier, shift

MAT_MUL = product((), 1, 2, 1, 1.0, a_dtype="int32", b_dtype="int32", output=STEPS, bits=2)
CONV = Conv(1, 1, 1, 2, 1, (1, 1), **WINDOW, output=STEPS)
CONV_TRANSPOSE = ConvTranspose(
    1, 1, 1, 2, 1, (1, 1), **WINDOW, output_padding=(0, 0), output=STEPS, x_dtype="int32", w_dtype="int32"
)


@pytest.mark.parametrize(
    ("op", "rescaling"),
    [(MAT_MUL, ()), (CONV, PLAIN), (CONV_TRANSPOSE, PLAIN)],
    ids=["MatMul", "Conv", "ConvTranspose"],
)
def test_what_large_products_leave_of_each_other_is_exact(op: Op, rescaling: tuple[np.ndarray, ...]) -> None:
    """(n + 1)**2 - n * (n + 2) == 1."""
    x, w = (array.reshape(operand.shape) for array, operand in zip((X, W), op.operands(), strict=False))
    assert op.reference(x, w, *rescaling).reshape(-1).tolist() == [1]
