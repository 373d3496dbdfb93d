"""The loops of `AveragePool`: `bevel.backends.program.ops.average_pool`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.shapes import register_tile
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import inside_image


def build(op: AveragePool, name: str) -> Any:
    batch, height, width, channels, (rows, columns) = *op.operands()[0].shape, op.positions
    (kh, kw), (down, right), pads, (top, left, _, _) = op.kernel, op.strides, op.pads, op.pads
    x_zero_point, output, x_dtype, y_dtype = op.x_zero_point, op.output, op.x_dtype, op.output.dtype
    sums, requantize = op.sum_dtype, tir.requantize_of(op.sum_dtype)
    zero = tirx.const(0, sums)
    tile = register_tile(channels) if sums == "int32" else 1  # an int64 takes two registers

    @T.prim_func(s_tir=True)
    def average_pool(
        X: T.Buffer((batch, height, width, channels), x_dtype),
        M: T.Buffer((rows, columns), "int32"),
        S: T.Buffer((rows, columns), "int8"),
        Y: T.Buffer((batch, rows, columns, channels), y_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for n, y, x, block in T.grid(batch, rows, columns, channels // tile):
            first = T.meta_var(block * tile)
            A = T.alloc_buffer((tile,), sums)
            for u in T.unroll(tile):
                A[u] = zero
            for i, j in T.grid(kh, kw):
                row = T.meta_var(y * down + i - top)
                column = T.meta_var(x * right + j - left)
                if inside_image(row, column, height, width, pads):
                    for u in T.unroll(tile):
                        steps = T.meta_var(T.cast(X[n, row, column, first + u], "int32") - x_zero_point)
                        A[u] = A[u] + T.cast(steps, sums)
            for u in T.unroll(tile):
                Y[n, y, x, first + u] = requantize(A[u], M[y, x], S[y, x], output)

    return average_pool
