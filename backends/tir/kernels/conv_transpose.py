"""The loops of `ConvTranspose`: `bevel.backends.program.ops.conv_transpose`.

Written as a gather: output position p receives input position q through kernel tap t wherever
q * stride + t * dilation - pad == p, so each output is summed once, in a register, and nothing is scattered into a
32-bit image.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.conv_transpose import ConvTranspose
from bevel.backends.program.shapes import register_tile
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T


def build(op: ConvTranspose, name: str) -> Any:
    batch, height, width, (rows, columns) = op.batch, op.height, op.width, op.positions
    (kh, kw), (down, right), (row_step, column_step) = op.kernel, op.strides, op.dilations
    (top, left, _, _), x_zero_point, output = op.pads, op.x_zero_point, op.output
    groups, group_in, group_out = op.groups, op.channels_in // op.groups, op.channels_out // op.groups
    channels, tile = op.channels_out, register_tile(group_out)
    x_dtype, w_dtype, sum_dtype, y_dtype = op.x_dtype, op.w_dtype, op.sum_dtype, op.output.dtype
    requantize = tir.requantize_of(sum_dtype)

    @T.prim_func(s_tir=True)
    def conv_transpose(
        X: T.Buffer((batch, height, width, groups * group_in), x_dtype),
        W: T.Buffer((channels, kh, kw, group_in), w_dtype),
        B: T.Buffer((channels,), sum_dtype),
        M: T.Buffer((channels,), "int32"),
        S: T.Buffer((channels,), "int8"),
        Y: T.Buffer((batch, rows, columns, channels), y_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for n, y, x, g, block in T.grid(batch, rows, columns, groups, group_out // tile):
            first = T.meta_var(g * group_out + block * tile)
            A = T.alloc_buffer((tile,), sum_dtype)
            for u in T.unroll(tile):
                A[u] = B[first + u]
            for i in T.serial(kh):
                above = T.meta_var(y + top - i * row_step)  # the input row, times its stride
                if reaches(above, down, height):
                    for j in T.serial(kw):
                        before = T.meta_var(x + left - j * column_step)
                        if reaches(before, right, width):
                            for c in T.serial(group_in):
                                value = T.meta_var(
                                    T.cast(
                                        X[n, T.truncdiv(above, down), T.truncdiv(before, right), g * group_in + c],
                                        sum_dtype,
                                    )
                                    - x_zero_point
                                )
                                for u in T.unroll(tile):
                                    A[u] = A[u] + value * T.cast(W[first + u, i, j, c], sum_dtype)
            for u in T.unroll(tile):
                Y[n, y, x, first + u] = requantize(A[u], M[first + u], S[first + u], output)

    return conv_transpose


def reaches(scaled: Any, stride: int, size: int) -> Any:
    """Whether `scaled` is the stride times a coordinate of the input, as a TIR condition."""
    within = T.And(scaled >= 0, scaled < size * stride)
    return within if stride == 1 else T.And(within, T.truncmod(scaled, stride) == 0)
