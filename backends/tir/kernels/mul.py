"""The loops of `Mul`: `bevel.backends.program.ops.mul`."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from bevel.backends.program.ops.mul import Mul
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.loops import offset_of


def build(op: Mul, name: str) -> Any:
    sizes = tuple(operand.size for operand in op.operands())
    a_size, b_size, y_size = sizes
    extents, (a_strides, b_strides, y_strides) = broadcast_axes(op.shape, op.a_shape, op.b_shape, op.shape)
    a_zero_point, b_zero_point, output = op.a_zero_point, op.b_zero_point, op.output
    multiplier, shift = op.multiplier, op.shift

    @T.prim_func(s_tir=True)
    def mul(A: T.Buffer((a_size,), "int8"), B: T.Buffer((b_size,), "int8"), Y: T.Buffer((y_size,), "int8")):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for axis in T.grid(*extents):
            a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], "int32") - a_zero_point)
            b = T.meta_var(T.cast(B[offset_of(axis, b_strides)], "int32") - b_zero_point)
            Y[offset_of(axis, y_strides)] = tir.requantize(a * b, multiplier, shift, output)

    return mul
