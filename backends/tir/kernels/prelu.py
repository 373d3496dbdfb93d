"""The loops of `PRelu`: `bevel.backends.program.ops.prelu`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.op import accumulator
from bevel.backends.program.ops.prelu import PRelu
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import offset_of


def build(op: PRelu, name: str) -> Any:
    sizes = tuple(operand.size for operand in op.operands())
    x_size, slope_size, y_size = sizes
    extents, (x_strides, s_strides, y_strides) = broadcast_axes(op.shape, op.a_shape, op.b_shape, op.shape)
    output, x_dtype, y_dtype, sums = (
        op.output,
        op.x_dtype,
        op.output.dtype,
        accumulator(op.x_dtype, op.output.dtype),
    )
    zero_point, positive, shift, half = (
        tirx.const(value, sums) for value in (op.x_zero_point, op.positive, op.shift, (1 << op.shift) >> 1)
    )

    @T.prim_func(s_tir=True)
    def prelu(X: T.Buffer((x_size,), x_dtype), S: T.Buffer((slope_size,), "int32"), Y: T.Buffer((y_size,), y_dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for axis in T.grid(*extents):
            steps = T.meta_var(T.cast(X[offset_of(axis, x_strides)], sums) - zero_point)
            factor = T.meta_var(T.Select(steps >= 0, positive, T.cast(S[offset_of(axis, s_strides)], sums)))
            Y[offset_of(axis, y_strides)] = tir.store((steps * factor + half) >> shift, output)

    return prelu
