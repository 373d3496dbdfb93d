"""The loops of `MaxPool`: `bevel.backends.program.ops.max_pool`.

The output row is its own accumulator, so the innermost loop is a plain elementwise maximum over the channels, which
compilers vectorize, and whether a tap is inside is asked once a tap.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import inside_image


def build(op: MaxPool, name: str) -> Any:
    batch, height, width, channels, (rows, columns) = *op.operands()[0].shape, op.positions
    (kh, kw), (down, right), (row_step, column_step) = op.kernel, op.strides, op.dilations
    pads, (top, left, _, _), dtype, lowest = op.pads, op.pads, op.dtype, tirx.const(op.lowest, op.dtype)

    @T.prim_func(s_tir=True)
    def max_pool(
        X: T.Buffer((batch, height, width, channels), dtype),
        Y: T.Buffer((batch, rows, columns, channels), dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for n, y, x in T.grid(batch, rows, columns):
            for c in T.serial(channels):
                Y[n, y, x, c] = lowest
            for i, j in T.grid(kh, kw):
                row = T.meta_var(y * down + i * row_step - top)
                column = T.meta_var(x * right + j * column_step - left)
                if inside_image(row, column, height, width, pads):
                    for c in T.serial(channels):
                        Y[n, y, x, c] = T.max(Y[n, y, x, c], X[n, row, column, c])

    return max_pool
