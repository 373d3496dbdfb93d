"""The loops of `QuantizeFloat`: `bevel.backends.program.ops.quantize_float`.

A float32 above 2**23 * d is a multiple of d, so adding 2**23 * d to a smaller number rounds it to one, ties to even.
No product comes before a sum, so that no compiler can contract the two.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.quantize_float import QuantizeFloat
from bevel.backends.tir.kernels.quantize import MANTISSA_SPLIT, assembled, float_parts
from bevel.backends.tir.lazy import T

ROUNDER = 2.0**23


def build(op: QuantizeFloat, name: str) -> Any:
    size, dtype, high = op.size, op.dtype, float(op.high)
    mantissa, factors = float_parts(op.scale)
    first, borders = 2.0 ** (op.mantissa + 1), op.steps.exponents - 1

    @T.prim_func(s_tir=True)
    def quantize_float(X: T.Buffer((size,), "float32"), Y: T.Buffer((size,), dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        S = T.alloc_buffer((2,), "float32")
        S[0] = T.float32(mantissa // MANTISSA_SPLIT)
        S[1] = assembled(S[0], mantissa % MANTISSA_SPLIT, factors)
        for i in T.serial(size):
            V = T.alloc_buffer((4,), "float32")  # the quotient, its magnitude, what rounds it, the next border
            V[0] = X[i] / S[1]
            # In this order and with > and <, so that a NaN becomes the lower bound.
            V[0] = T.Select(V[0] > T.float32(-high), V[0], T.float32(-high))
            V[0] = T.Select(V[0] < T.float32(high), V[0], T.float32(high))
            V[1] = T.Select(V[0] < T.float32(0), T.float32(0) - V[0], V[0])
            V[2] = T.float32(ROUNDER)
            V[3] = T.float32(first)
            for _ in T.serial(borders):
                V[2] = T.Select(V[1] >= V[3], V[2] + V[2], V[2])
                V[3] = V[3] + V[3]
            V[2] = T.Select(V[0] < T.float32(0), T.float32(0) - V[2], V[2])
            V[0] = V[0] + V[2]
            Y[i] = T.cast(T.cast(V[0] - V[2], "int32"), dtype)

    return quantize_float
