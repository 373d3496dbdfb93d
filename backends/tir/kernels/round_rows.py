"""The loops of `RoundRows`: `bevel.backends.program.ops.round_rows`.

A row is read once for its ends and once to be rounded; its only division makes a reciprocal.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.round_rows import RoundRows
from bevel.backends.tir.lazy import T
from bevel.calib.arithmetic.round_rows import RECIPROCAL_BITS, limit


def build(op: RoundRows, name: str) -> Any:
    rows, n, levels = op.rows, op.n, op.levels
    bound = limit(levels)

    @T.prim_func(s_tir=True)
    def round_rows(Q: T.Buffer((rows, n), "int16"), Y: T.Buffer((rows, n), "int16")):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        M = T.sblock_alloc_buffer((2,), "int32")  # the least and the largest of a row, the latter then its step
        R = T.sblock_alloc_buffer((1,), "int64")
        C = T.sblock_alloc_buffer((1,), "int32")
        for row in T.serial(rows):
            M[0] = bound
            M[1] = 0 - bound
            for i in T.serial(n):
                M[0] = T.min(M[0], T.cast(Q[row, i], "int32"))
                M[1] = T.max(M[1], T.cast(Q[row, i], "int32"))
            M[0] = T.max(M[0], 0 - bound)
            M[1] = T.max(T.truncdiv(T.min(M[1], bound) - M[0] + (levels - 1), levels), 1)
            R[0] = T.cast(T.truncdiv(T.uint32(2**RECIPROCAL_BITS - 1), T.cast(M[1], "uint32")), "int64") + T.int64(1)
            for i in T.serial(n):
                C[0] = T.max(T.min(T.cast(Q[row, i], "int32"), bound), 0 - bound) - M[0] + T.shift_right(M[1], 1)
                C[0] = T.cast(T.shift_right(T.cast(C[0], "int64") * R[0], T.int64(RECIPROCAL_BITS)), "int32")
                Y[row, i] = T.cast(C[0] * M[1] + M[0], "int16")

    return round_rows
