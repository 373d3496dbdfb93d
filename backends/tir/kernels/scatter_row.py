"""The loops of `ScatterRow`: `bevel.backends.program.ops.scatter_row`."""

from __future__ import annotations

from typing import Any

from bevel.backends.encodings.nibbles import EACH, LEAST
from bevel.backends.program.ops.scatter_row import ScatterRow
from bevel.backends.tir.lazy import T


def build(op: ScatterRow, name: str) -> Any:
    rows, dtype, (_, stored), kept = op.rows, op.dtype, op.operands()[0].shape, op.operands()[0].dtype
    zero, size, last = T.int64(0), T.int64(rows), T.int64(rows - 1)
    copied, packed, width = 0 if op.over else rows, op.packed, op.width

    def two(low: Any, high: Any) -> Any:
        lower, upper = ((T.cast(one, "int32") + LEAST) & T.int32(15) for one in (low, high))
        return T.cast(lower | upper << T.int32(4), "uint8")

    @T.prim_func(s_tir=True)
    def scatter(
        X: T.Buffer((rows, stored), kept),
        P: T.Buffer((1,), "int64"),
        N: T.Buffer((width,), dtype),
        Y: T.Buffer((rows, stored), kept),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        R = T.sblock_alloc_buffer((1,), "int32")
        counted = T.meta_var(T.Select(P[0] < zero, P[0] + size, P[0]))
        R[0] = T.cast(T.max(T.min(counted, last), zero), "int32")
        for i in T.serial(copied):
            for j in T.serial(stored):
                Y[i, j] = X[i, j]
        for j in T.serial(stored):
            Y[R[0], j] = two(N[j * EACH], N[j * EACH + 1]) if packed else N[j]

    return scatter
