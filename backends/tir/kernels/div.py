"""The loops of `Div`: `bevel.backends.program.ops.div`."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from bevel.backends.program.ops.div import Div
from bevel.backends.program.ops.table import ENTRIES
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.loops import offset_of


def build(op: Div, name: str) -> Any:
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
