"""The loops of `Extreme`: `bevel.backends.program.ops.extreme`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.extreme import Extreme
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import offset_of


def build(op: Extreme, name: str) -> Any:
    a_size, b_size, y_size = (operand.size for operand in op.operands())
    extents, (a_strides, b_strides, y_strides) = broadcast_axes(op.shape, op.a_shape, op.b_shape, op.shape)
    a_dtype, b_dtype, y_dtype, output = op.a_dtype, op.b_dtype, op.output.dtype, op.output
    sums, better = op.sum_dtype, T.max if op.largest else T.min
    numbers = (op.a_multiplier, op.b_multiplier, op.a_offset, op.b_offset, op.shift)
    a_multiplier, b_multiplier, a_offset, b_offset, shift = (tirx.const(number, sums) for number in numbers)

    @T.prim_func(s_tir=True)
    def extreme(A: T.Buffer((a_size,), a_dtype), B: T.Buffer((b_size,), b_dtype), Y: T.Buffer((y_size,), y_dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for axis in T.grid(*extents):
            a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], sums) * a_multiplier + a_offset)
            b = T.meta_var(T.cast(B[offset_of(axis, b_strides)], sums) * b_multiplier + b_offset)
            Y[offset_of(axis, y_strides)] = tir.store(better(a, b) >> shift, output)

    return extreme
