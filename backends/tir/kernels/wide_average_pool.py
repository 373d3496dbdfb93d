"""The loops of `WideAveragePool`: `bevel.backends.program.ops.wide_average_pool`."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from bevel.backends.program.ops.wide_average_pool import WideAveragePool
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.loops import inside_image


def build(op: WideAveragePool, name: str) -> Any:
    batch, height, width, channels, (rows, columns) = *op.operands()[0].shape, op.positions
    (kh, kw), (down, right), pads, (top, left, _, _) = op.kernel, op.strides, op.pads, op.pads
    x_zero_point, output, x_dtype, y_dtype = op.x_zero_point, op.output, op.x_dtype, op.output.dtype

    @T.prim_func(s_tir=True)
    def wide_average_pool(
        X: T.Buffer((batch, height, width, channels), x_dtype),
        M: T.Buffer((rows, columns), "int32"),
        S: T.Buffer((rows, columns), "int8"),
        Y: T.Buffer((batch, rows, columns, channels), y_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for n, y, x, c in T.grid(batch, rows, columns, channels):
            A = T.alloc_buffer((1,), "int64")
            A[0] = T.int64(0)
            for i, j in T.grid(kh, kw):
                row = T.meta_var(y * down + i - top)
                column = T.meta_var(x * right + j - left)
                if inside_image(row, column, height, width, pads):
                    A[0] = A[0] + T.cast(T.cast(X[n, row, column, c], "int32") - x_zero_point, "int64")
            product = T.meta_var(A[0] * T.cast(M[y, x], "int64"))
            Y[n, y, x, c] = tir.store(tir.rounding_shift_right(product, S[y, x]), output)

    return wide_average_pool
