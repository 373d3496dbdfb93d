"""The loops of `Compare`: `bevel.backends.program.ops.compare`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.compare import RELATIONS, Compare
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import offset_of


def build(op: Compare, name: str) -> Any:
    sizes = tuple(operand.size for operand in op.operands())
    a_size, b_size, y_size = sizes
    extents, (a_strides, b_strides, y_strides) = broadcast_axes(op.shape, op.a_shape, op.b_shape, op.shape)
    a_multiplier, b_multiplier, offset = (T.int64(one) for one in (op.a_multiplier, op.b_multiplier, op.offset))
    a_dtype, b_dtype, zero = op.a_dtype, op.b_dtype, T.int64(0)

    def holds(difference: Any) -> Any:
        match op.relation:
            case "Equal":
                return T.EQ(difference, zero)
            case relation:
                return RELATIONS[relation](difference, zero)

    @T.prim_func(s_tir=True)
    def compare(A: T.Buffer((a_size,), a_dtype), B: T.Buffer((b_size,), b_dtype), Y: T.Buffer((y_size,), "bool")):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for axis in T.grid(*extents):
            a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], "int64") * a_multiplier)
            b = T.meta_var(T.cast(B[offset_of(axis, b_strides)], "int64") * b_multiplier)
            Y[offset_of(axis, y_strides)] = holds(a - b + offset)

    return compare
