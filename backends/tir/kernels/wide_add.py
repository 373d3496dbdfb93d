"""The loops of `WideAdd`: `bevel.backends.program.ops.wide_add`."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from bevel.backends.program.ops.wide_add import WideAdd
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.loops import offset_of


def build(op: WideAdd, name: str) -> Any:
    sizes = tuple(operand.size for operand in op.operands())
    a_size, b_size, y_size = sizes
    extents, (a_strides, b_strides, y_strides) = broadcast_axes(op.shape, op.a_shape, op.b_shape, op.shape)
    a_multiplier, b_multiplier = T.int64(op.a_multiplier), T.int64(op.b_multiplier)
    offset, shift, output = T.int64(op.offset), T.int64(op.shift), op.output
    a_dtype, b_dtype, y_dtype = op.a_dtype, op.b_dtype, op.output.dtype

    @T.prim_func(s_tir=True)
    def wide_add(A: T.Buffer((a_size,), a_dtype), B: T.Buffer((b_size,), b_dtype), Y: T.Buffer((y_size,), y_dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for axis in T.grid(*extents):
            a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], "int64"))
            b = T.meta_var(T.cast(B[offset_of(axis, b_strides)], "int64"))
            total = T.meta_var(a * a_multiplier + b * b_multiplier + offset)
            Y[offset_of(axis, y_strides)] = tir.store(total >> shift, output)

    return wide_add
