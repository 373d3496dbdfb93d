"""The loops of `ArgMax`: `bevel.backends.program.ops.arg_max`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.arg_max import ArgMax
from bevel.backends.tir.lazy import T


def build(op: ArgMax, name: str) -> Any:
    outer, n, inner, dtype, largest, last = op.outer, op.n, op.inner, op.dtype, op.largest, op.last

    def wins(value: Any, best: Any) -> Any:
        if last:
            return value >= best if largest else value <= best
        return value > best if largest else value < best

    @T.prim_func(s_tir=True)
    def arg_max(X: T.Buffer((outer, n, inner), dtype), Y: T.Buffer((outer, inner), "int64")):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        B = T.sblock_alloc_buffer((2,), "int32")  # the best so far, and its place
        for i, j in T.grid(outer, inner):
            B[0] = T.cast(X[i, 0, j], "int32")
            B[1] = 0
            for r in T.serial(n - 1):
                if wins(T.cast(X[i, r + 1, j], "int32"), B[0]):
                    B[0] = T.cast(X[i, r + 1, j], "int32")
                    B[1] = r + 1
            Y[i, j] = T.cast(B[1], "int64")

    return arg_max
