"""The loops of `Add`: `bevel.backends.program.ops.add`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.add import Add
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import offset_of


def build(op: Add, name: str) -> Any:
    a_size, b_size, y_size = (operand.size for operand in op.operands())
    extents, (a_strides, b_strides, y_strides) = broadcast_axes(op.shape, op.a_shape, op.b_shape, op.shape)
    a_dtype, b_dtype, y_dtype, sums, output = op.a_dtype, op.b_dtype, op.output.dtype, op.sum_dtype, op.output
    numbers = (op.a_multiplier, op.b_multiplier, op.offset, op.shift)
    a_multiplier, b_multiplier, offset, shift = (tirx.const(number, sums) for number in numbers)

    def narrowed(value: Any) -> Any:
        return T.cast(value, "int32") if op.fits_word else value

    @T.prim_func(s_tir=True)
    def add(A: T.Buffer((a_size,), a_dtype), B: T.Buffer((b_size,), b_dtype), Y: T.Buffer((y_size,), y_dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for axis in T.grid(*extents):
            a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], sums))
            b = T.meta_var(T.cast(B[offset_of(axis, b_strides)], sums))
            total = T.meta_var(a * a_multiplier + b * b_multiplier + offset)
            Y[offset_of(axis, y_strides)] = tir.store(narrowed(total >> shift), output)

    return add
