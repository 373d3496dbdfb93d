"""The loops of `Div` and `WideDiv`: `bevel.backends.program.ops.div`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.div import Div, WideDiv
from bevel.backends.program.ops.table import ENTRIES
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import offset_of


def build(op: Div | WideDiv, name: str) -> Any:
    return by_division(op, name) if isinstance(op, WideDiv) else by_reciprocals(op, name)


def by_reciprocals(op: Div, name: str) -> Any:
    sizes = tuple(operand.size for operand in op.operands())
    a_size, b_size, entries, y_size = sizes
    extents, (a_strides, b_strides, y_strides) = broadcast_axes(op.shape, op.a_shape, op.b_shape, op.shape)
    a_zero_point, output, middle = op.a_zero_point, op.output, ENTRIES // 2
    multiplier, shift = op.multiplier, op.shift

    @T.prim_func(s_tir=True)
    def div(
        A: T.Buffer((a_size,), "int8"),
        B: T.Buffer((b_size,), "int8"),
        R: T.Buffer((entries,), "int32"),
        Y: T.Buffer((y_size,), "int8"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for axis in T.grid(*extents):
            a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], "int32") - a_zero_point)
            reciprocal = T.meta_var(R[T.cast(B[offset_of(axis, b_strides)], "int32") + middle])
            Y[offset_of(axis, y_strides)] = tir.requantize(a * reciprocal, multiplier, shift, output)

    return div


def by_division(op: WideDiv, name: str) -> Any:
    sizes = tuple(operand.size for operand in op.operands())
    a_size, b_size, y_size = sizes
    extents, (a_strides, b_strides, y_strides) = broadcast_axes(op.shape, op.a_shape, op.b_shape, op.shape)
    a_zero_point, b_zero_point = T.int64(op.a_zero_point), T.int64(op.b_zero_point)
    zero, two, multiplier, shift = T.int64(0), T.int64(2), T.int64(op.multiplier), T.int64(op.shift)
    a_dtype, b_dtype, y_dtype, output = op.a_dtype, op.b_dtype, op.output.dtype, op.output

    @T.prim_func(s_tir=True)
    def wide_div(A: T.Buffer((a_size,), a_dtype), B: T.Buffer((b_size,), b_dtype), Y: T.Buffer((y_size,), y_dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        S = T.sblock_alloc_buffer((2,), "int64")  # dividend, divisor
        Q = T.sblock_alloc_buffer((1,), "int64")
        for axis in T.grid(*extents):
            S[0] = T.cast(A[offset_of(axis, a_strides)], "int64") - a_zero_point
            S[1] = T.cast(B[offset_of(axis, b_strides)], "int64") - b_zero_point
            size = T.meta_var(T.max(T.max(S[1], zero - S[1]), T.int64(1)) << shift)
            largest = T.meta_var(T.max(S[0], zero - S[0]) * multiplier)
            Q[0] = T.truncdiv(largest * two + size, size * two)
            negative = T.meta_var((S[0] ^ S[1]) < zero)
            Y[offset_of(axis, y_strides)] = tir.store(T.Select(negative, zero - Q[0], Q[0]), output)

    return wide_div
