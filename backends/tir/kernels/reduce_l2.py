"""The loops of `ReduceL2`: `bevel.backends.program.ops.reduce_l2`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.reduce_l2 import ReduceL2
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T
from bevel.backends.tir.roots import root_of
from bevel.calib.arithmetic.requantize import MAX_SHIFT


def build(op: ReduceL2, name: str) -> Any:
    outer, reduced, inner, x_dtype, y_dtype = op.outer, op.reduced, op.inner, op.x_dtype, op.output.dtype
    zero_point, multiplier, shift, output = op.x_zero_point, T.int64(op.multiplier), op.shift, op.output
    take_root = root_of()

    @T.prim_func(s_tir=True)
    def reduce_l2(X: T.Buffer((outer, reduced, inner), x_dtype), Y: T.Buffer((outer, inner), y_dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        S = T.sblock_alloc_buffer((3,), "int32")  # step, shift of what is under the root, root
        V = T.sblock_alloc_buffer((1,), "int64")  # the sum under the root
        for i, j in T.grid(outer, inner):
            V[0] = T.int64(0)
            for r in T.serial(reduced):
                S[0] = T.cast(X[i, r, j], "int32") - zero_point
                V[0] = V[0] + T.cast(S[0], "int64") * T.cast(S[0], "int64")
            take_root(V, S)
            scaled = T.meta_var(T.cast(S[2], "int64") * multiplier)
            Y[i, j] = tir.store(tir.rounding_shift_right(scaled, T.min(S[1] + shift, MAX_SHIFT)), output)

    return reduce_l2
