"""The loops of `WideMean`: `bevel.backends.program.ops.wide_mean`."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from bevel.backends.program.ops.wide_mean import WideMean
from bevel.backends.tir import arithmetic as tir


def build(op: WideMean, name: str) -> Any:
    outer, reduced, inner, output = op.outer, op.reduced, op.inner, op.output
    multiplier, shift, offset = T.int64(op.multiplier), op.shift, -op.reduced * op.x_zero_point
    x_dtype, y_dtype = op.x_dtype, op.output.dtype

    @T.prim_func(s_tir=True)
    def wide_mean(X: T.Buffer((outer, reduced, inner), x_dtype), Y: T.Buffer((outer, inner), y_dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for i, j in T.grid(outer, inner):
            A = T.alloc_buffer((1,), "int64")
            A[0] = T.int64(offset)
            for r in T.serial(reduced):
                A[0] = A[0] + T.cast(X[i, r, j], "int64")
            Y[i, j] = tir.store(tir.rounding_shift_right(A[0] * multiplier, shift), output)

    return wide_mean
