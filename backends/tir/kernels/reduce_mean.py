"""The loops of `ReduceMean`: `bevel.backends.program.ops.reduce_mean`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.shapes import register_tile
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T, tirx


def build(op: ReduceMean, name: str) -> Any:
    outer, reduced, inner, output = op.outer, op.reduced, op.inner, op.output
    x_dtype, y_dtype, sums, requantize = op.x_dtype, op.output.dtype, op.sum_dtype, tir.requantize_of(op.sum_dtype)
    multiplier, shift, offset = op.multiplier, op.shift, tirx.const(-op.reduced * op.x_zero_point, sums)
    tile = register_tile(inner) if sums == "int32" else 1  # an int64 takes two registers

    @T.prim_func(s_tir=True)
    def reduce_mean(X: T.Buffer((outer, reduced, inner), x_dtype), Y: T.Buffer((outer, inner), y_dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for i, block in T.grid(outer, inner // tile):
            A = T.alloc_buffer((tile,), sums)
            for u in T.unroll(tile):
                A[u] = offset
            for r in T.serial(reduced):
                for u in T.unroll(tile):
                    A[u] = A[u] + T.cast(X[i, r, block * tile + u], sums)
            for u in T.unroll(tile):
                Y[i, block * tile + u] = requantize(A[u], multiplier, shift, output)

    return reduce_mean
