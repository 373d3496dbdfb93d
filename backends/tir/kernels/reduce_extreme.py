"""The loops of `ReduceExtreme`: `bevel.backends.program.ops.reduce_extreme`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.reduce_extreme import ReduceExtreme
from bevel.backends.program.shapes import register_tile
from bevel.backends.tir.lazy import T


def build(op: ReduceExtreme, name: str) -> Any:
    outer, reduced, inner, dtype = op.outer, op.reduced, op.inner, op.dtype
    tile, better = register_tile(inner), T.max if op.largest else T.min

    @T.prim_func(s_tir=True)
    def reduce_extreme(X: T.Buffer((outer, reduced, inner), dtype), Y: T.Buffer((outer, inner), dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for i, block in T.grid(outer, inner // tile):
            A = T.alloc_buffer((tile,), "int32")
            for u in T.unroll(tile):
                A[u] = T.cast(X[i, 0, block * tile + u], "int32")
            for r in T.serial(reduced - 1):
                for u in T.unroll(tile):
                    A[u] = better(A[u], T.cast(X[i, r + 1, block * tile + u], "int32"))
            for u in T.unroll(tile):
                Y[i, block * tile + u] = T.cast(A[u], dtype)

    return reduce_extreme
