"""The loops of `Where`: `bevel.backends.program.ops.where`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.op import accumulator
from bevel.backends.program.ops.where import Where
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import offset_of


def build(op: Where, name: str) -> Any:
    sizes = tuple(operand.size for operand in op.operands())
    c_size, a_size, b_size, y_size = sizes
    shapes = (op.c_shape, op.a_shape, op.b_shape, op.shape)
    extents, (c_strides, a_strides, b_strides, y_strides) = broadcast_axes(op.shape, *shapes)
    a_dtype, b_dtype, y_dtype, output = op.a_dtype, op.b_dtype, op.output.dtype, op.output
    sums = accumulator(a_dtype, b_dtype, y_dtype)
    numbers = (op.a_multiplier, op.b_multiplier, op.a_offset, op.b_offset, op.shift)
    a_multiplier, b_multiplier, a_offset, b_offset, shift = (tirx.const(number, sums) for number in numbers)

    @T.prim_func(s_tir=True)
    def where(
        C: T.Buffer((c_size,), "bool"),
        A: T.Buffer((a_size,), a_dtype),
        B: T.Buffer((b_size,), b_dtype),
        Y: T.Buffer((y_size,), y_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for axis in T.grid(*extents):
            a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], sums) * a_multiplier + a_offset)
            b = T.meta_var(T.cast(B[offset_of(axis, b_strides)], sums) * b_multiplier + b_offset)
            chosen = T.meta_var(T.Select(C[offset_of(axis, c_strides)], a, b))
            Y[offset_of(axis, y_strides)] = tir.store(chosen >> shift, output)

    return where
