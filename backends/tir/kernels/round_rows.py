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
        M = T.sblock_alloc_buffer((2,), "int32")  # the ends of a row, the upper then its step
        U = T.sblock_alloc_buffer((2,), "uint32")  # the reciprocal, and what it divides: a product of 32 bits by 32
        C = T.sblock_alloc_buffer((1,), "int32")
        for row in T.serial(rows):
            M[0] = T.cast(Q[row, 0], "int32")
            M[1] = M[0]
            for i in T.serial(n):
                M[0] = T.min(M[0], T.cast(Q[row, i], "int32"))
                M[1] = T.max(M[1], T.cast(Q[row, i], "int32"))
            M[1] = T.max(T.truncdiv(T.min(M[1], bound) - M[0] + (levels - 1), levels), 1)
            U[0] = T.truncdiv(T.uint32(2**RECIPROCAL_BITS - 1), T.cast(M[1], "uint32")) + T.uint32(1)
            for i in T.serial(n):
                U[1] = T.cast(T.cast(Q[row, i], "int32") - M[0] + T.shift_right(M[1], 1), "uint32")
                C[0] = T.cast(
                    T.shift_right(T.cast(U[1], "uint64") * T.cast(U[0], "uint64"), T.uint64(RECIPROCAL_BITS)), "int32"
                )
                Y[row, i] = T.cast(T.min(C[0], levels) * M[1] + M[0], "int16")

    return round_rows
