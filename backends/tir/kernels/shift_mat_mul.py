"""The loops of `ShiftMatMul`: `bevel.backends.program.ops.shift_mat_mul`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.shift_mat_mul import ShiftMatMul
from bevel.backends.program.shapes import register_tile
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import offset_of, without
from bevel.calib.arithmetic.power_softmax import LEAST, NONE


def build(op: ShiftMatMul, name: str) -> Any:
    """A few columns at once, by one share; what has no share reads none of them."""
    a_size, b_size, *_, y_size = (operand.size for operand in op.operands())
    made = op.product
    m, k, n, sums = made.m, made.k, made.n, made.sum_dtype
    tile = register_tile(n)
    batch, counted = made.batch or (1,), made.counted is not None
    (*a_batch, a_row, a_step), (*b_batch, b_step, b_column), (*y_batch, y_row, y_column) = (
        strides if made.batch else (0, *strides) for strides in (made.a_strides, made.b_strides, made.y_strides)
    )
    a_lead, b_lead, y_lead = tuple(a_batch), tuple(b_batch), tuple(y_batch)
    b_dtype, y_dtype = made.b_dtype, made.output.dtype
    b_zero_point, zero = (tirx.const(value, sums) for value in (made.b_zero_point, 0))
    requantize, multiplier, shift, output = tir.requantize_of(sums), made.multiplier, made.shift, made.output

    @T.prim_func(s_tir=True)
    def shift_mat_mul(
        A: T.Buffer((a_size,), "int8"),
        B: T.Buffer((b_size,), b_dtype),
        K: T.Buffer((1,), "int32"),
        Y: T.Buffer((y_size,), y_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for axis in T.grid(*batch):
            for i, block in T.grid(m, n // tile):
                S = T.alloc_buffer((tile,), sums)
                for u in T.unroll(tile):
                    S[u] = zero
                for r in T.serial(K[0] if counted else k):
                    share = T.meta_var(T.cast(A[offset_of(axis, a_lead) + i * a_row + r * a_step], "int32"))
                    if share != NONE:
                        for u in T.unroll(tile):
                            column = T.meta_var((block * tile + u) * b_column)
                            right = T.meta_var(B[offset_of(axis, b_lead) + r * b_step + column])
                            centered = T.meta_var(T.cast(right, sums) - b_zero_point)
                            S[u] = S[u] + raised(centered, LEAST - share, sums)
                for u in T.unroll(tile):
                    column = T.meta_var((block * tile + u) * y_column)
                    Y[offset_of(axis, y_lead) + i * y_row + column] = requantize(S[u], multiplier, shift, output)

    return shift_mat_mul if counted else without(shift_mat_mul, ("K",))


def raised(value: Any, bits: Any, dtype: str) -> Any:
    """TIR for value * 2**bits: C shifts no negative integers to the left."""
    return T.cast(T.cast(value, f"u{dtype}") << T.cast(bits, f"u{dtype}"), dtype)
