"""The loops of `Normalize`: `bevel.backends.program.ops.normalize`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.normalize import Loop, Normalize
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import offset_of
from bevel.backends.tir.roots import root_of
from bevel.calib.arithmetic.normalize import INVERSE_BITS, MOST_FRACTION, WORD_BITS, fraction_bits


def build(op: Normalize, name: str) -> Any:
    size, gains, x_dtype, y_dtype, output = op.size, op.gains, op.x_dtype, op.output.dtype, op.output
    row_extents, row_strides, row_gains = columns_of(op.rows)
    extents, strides, column_gains = columns_of(op.columns)
    n, own, squared = (op.n, op.n, 1) if op.center else (1, 1, 0)
    zero_point, shift, raised = op.zero_point, op.shift - WORD_BITS, fraction_bits(op.n) - MOST_FRACTION
    epsilon, one, ones = T.int64(op.epsilon), T.int64(1), T.int64(2**INVERSE_BITS)
    take_root = root_of()

    @T.prim_func(s_tir=True)
    def normalize(
        X: T.Buffer((size,), x_dtype),
        F: T.Buffer((gains,), "int32"),
        B: T.Buffer((gains,), "int32"),
        Y: T.Buffer((size,), y_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        # sum, shift of what is under the root, inverse root, shifts of steps to the left and to the right
        S = T.sblock_alloc_buffer((5,), "int32")
        V = T.sblock_alloc_buffer((1,), "int64")  # the sum under the root
        for row in T.grid(*row_extents):
            S[0] = 0
            V[0] = T.int64(0)
            for column in T.grid(*extents):
                place = T.meta_var(offset_of(row, row_strides) + offset_of(column, strides))
                step = T.meta_var(T.cast(X[place], "int32") - zero_point)
                S[0] = S[0] + step
                V[0] = V[0] + T.cast(step, "int64") * T.cast(step, "int64")
            total = T.meta_var(T.cast(S[0], "int64"))
            V[0] = T.max(T.int64(n) * V[0] - T.int64(squared) * total * total + epsilon, one)
            take_root(V, S)
            S[2] = T.cast(T.truncdiv(ones, T.cast(S[2], "int64")), "int32")
            S[3] = T.max(S[1] + raised, 0)
            S[4] = T.max(-(S[1] + raised), 0)
            for column in T.grid(*extents):
                place = T.meta_var(offset_of(row, row_strides) + offset_of(column, strides))
                gain = T.meta_var(offset_of(row, row_gains) + offset_of(column, column_gains))
                step = T.meta_var(T.cast(X[place], "int32") - zero_point)
                raised_step = T.meta_var(((step * own - squared * S[0]) << S[3]) >> S[4])
                product = T.meta_var(T.cast(raised_step, "int64") * T.cast(S[2], "int64"))
                t = T.meta_var(tir.narrowed(product, WORD_BITS))
                scaled = T.meta_var(T.cast(t, "int64") * T.cast(F[gain], "int64"))
                upper = T.meta_var(T.cast(scaled >> T.int64(WORD_BITS), "int32"))
                Y[place] = tir.store((upper + B[gain]) >> shift, output)

    return normalize


def columns_of(loops: tuple[Loop, ...]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Extents, strides and gains of nested loops; of none, a loop of one."""
    extents, strides, gains = zip(*(loops or (Loop(1, 0, 0),)), strict=True)
    return extents, strides, gains
