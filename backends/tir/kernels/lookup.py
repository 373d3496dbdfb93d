"""The loops of `Lookup`: `bevel.backends.program.ops.lookup`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.lookup import Lookup
from bevel.backends.tir.lazy import T


def build(op: Lookup, name: str) -> Any:
    count, rows, width, dtype, index_dtype = op.count, op.rows, op.width, op.dtype, op.index_dtype
    zero, size, last = T.int64(0), T.int64(rows), T.int64(rows - 1)

    @T.prim_func(s_tir=True)
    def lookup(
        N: T.Buffer((count,), index_dtype),
        W: T.Buffer((rows, width), dtype),
        Y: T.Buffer((count, width), dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        R = T.sblock_alloc_buffer((1,), "int32")
        for i in T.serial(count):
            given = T.meta_var(T.cast(N[i], "int64"))
            counted = T.meta_var(T.Select(given < zero, given + size, given))
            R[0] = T.cast(T.max(T.min(counted, last), zero), "int32")
            for j in T.serial(width):
                Y[i, j] = W[R[0], j]

    return lookup
