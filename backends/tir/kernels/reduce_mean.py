"""The loops of `ReduceMean`: `bevel.backends.program.ops.reduce_mean`."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.shapes import register_tile
from bevel.backends.tir import arithmetic as tir


def build(op: ReduceMean, name: str) -> Any:
    outer, reduced, inner, output = op.outer, op.reduced, op.inner, op.output
    multiplier, shift, offset = op.multiplier, op.shift, -op.reduced * op.x_zero_point
    tile = register_tile(inner)

    @T.prim_func(s_tir=True)
    def reduce_mean(X: T.Buffer((outer, reduced, inner), "int8"), Y: T.Buffer((outer, inner), "int8")):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for i, block in T.grid(outer, inner // tile):
            A = T.alloc_buffer((tile,), "int32")
            for u in T.unroll(tile):
                A[u] = offset
            for r in T.serial(reduced):
                for u in T.unroll(tile):
                    A[u] = A[u] + T.cast(X[i, r, block * tile + u], "int32")
            for u in T.unroll(tile):
                Y[i, block * tile + u] = tir.requantize(A[u], multiplier, shift, output)

    return reduce_mean
