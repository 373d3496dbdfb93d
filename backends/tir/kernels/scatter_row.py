"""The loops of `ScatterRow`: `bevel.backends.program.ops.scatter_row`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.scatter_row import ScatterRow
from bevel.backends.tir.lazy import T


def build(op: ScatterRow, name: str) -> Any:
    rows, width, dtype = op.rows, op.width, op.dtype
    zero, size, last = T.int64(0), T.int64(rows), T.int64(rows - 1)
    copied = 0 if op.over else rows

    @T.prim_func(s_tir=True)
    def scatter(
        X: T.Buffer((rows, width), dtype),
        P: T.Buffer((1,), "int64"),
        N: T.Buffer((width,), dtype),
        Y: T.Buffer((rows, width), dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        R = T.sblock_alloc_buffer((1,), "int32")
        counted = T.meta_var(T.Select(P[0] < zero, P[0] + size, P[0]))
        R[0] = T.cast(T.max(T.min(counted, last), zero), "int32")
        for i in T.serial(copied):
            for j in T.serial(width):
                Y[i, j] = X[i, j]
        for j in T.serial(width):
            Y[R[0], j] = N[j]

    return scatter
