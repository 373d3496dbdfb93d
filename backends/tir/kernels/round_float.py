"""The loops of `RoundFloat`: `bevel.backends.program.ops.round_float`.

In int32: what is cut off grows by one bit wherever the magnitude passes a power of two, so its length is a sum of
comparisons.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

from bevel.backends.program.ops.round_float import RoundFloat
from bevel.backends.tir.lazy import T


def build(op: RoundFloat, name: str) -> Any:
    size, dtype, x_dtype, fraction = op.size, op.dtype, op.x_dtype, op.fraction
    limit = op.high << op.fraction
    borders = [1 << (fraction + op.mantissa + step) for step in range(1, op.steps.exponents)]

    def cut(magnitude: Any) -> Any:
        return reduce(add, [T.cast(magnitude >= border, "int32") for border in borders], T.int32(0))

    @T.prim_func(s_tir=True)
    def round_float(X: T.Buffer((size,), x_dtype), Y: T.Buffer((size,), dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for i in T.serial(size):
            M = T.alloc_buffer((4,), "int32")  # the sign, the magnitude, what distance it has, and it rounded
            M[0] = T.cast(X[i], "int32") >> 31
            M[1] = T.min((T.cast(X[i], "int32") ^ M[0]) - M[0], limit)
            M[2] = cut(M[1]) & 31
            half = T.meta_var(T.int32(1) << (M[2] + (fraction - 1)))
            odd = T.meta_var((M[1] >> (M[2] + fraction)) & 1)
            M[3] = ((M[1] + (half - 1) + odd) >> (M[2] + fraction)) << M[2]
            Y[i] = T.cast((M[3] ^ M[0]) - M[0], dtype)

    return round_float
