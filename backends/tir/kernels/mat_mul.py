"""The loops of `MatMul`: `bevel.backends.program.ops.mat_mul`."""

from __future__ import annotations

from typing import Any

from bevel.backends.encodings.nibbles import EACH, LEAST
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.shapes import register_tile
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import offset_of, without


def build(op: MatMul, name: str) -> Any:
    """A few columns at once: what is read of a serves all of them."""
    a_size, b_size, *_, y_size = (operand.size for operand in op.operands())
    m, k, n, sums = op.m, op.k, op.n, op.sum_dtype
    tile = 1 if op.counted == "columns" else register_tile(n)
    batch = op.batch or (1,)
    (*a_batch, a_row, a_step), (*b_batch, b_step, b_column), (*y_batch, y_row, y_column) = (
        strides if op.batch else (0, *strides) for strides in (op.a_strides, op.b_strides, op.y_strides)
    )
    a_lead, b_lead, y_lead = tuple(a_batch), tuple(b_batch), tuple(y_batch)
    a_dtype, b_dtype, y_dtype = op.a_dtype, op.b_operand.dtype, op.output.dtype
    points = (op.a_zero_point, op.b_zero_point + (LEAST if op.packed else 0), 0)
    a_zero_point, b_zero_point, zero = (tirx.const(value, sums) for value in points)
    requantize, multiplier, shift, output = tir.requantize_of(sums), op.multiplier, op.shift, op.output
    of_columns, of_terms = op.counted == "columns", op.counted == "terms"

    def code(matrix: Any, place: Any) -> Any:
        if not op.packed:
            return T.cast(matrix[place], sums)
        both = T.cast(matrix[place // EACH], "int32")
        return T.cast((both >> (place % EACH * 4)) & T.int32(15), sums)

    @T.prim_func(s_tir=True)
    def mat_mul(
        A: T.Buffer((a_size,), a_dtype),
        B: T.Buffer((b_size,), b_dtype),
        K: T.Buffer((1,), "int32"),
        Y: T.Buffer((y_size,), y_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for axis in T.grid(*batch):
            for i, block in T.grid(m, K[0] if of_columns else n // tile):
                S = T.alloc_buffer((tile,), sums)
                for u in T.unroll(tile):
                    S[u] = zero
                for r in T.serial(K[0] if of_terms else k):
                    left = T.meta_var(T.cast(A[offset_of(axis, a_lead) + i * a_row + r * a_step], sums) - a_zero_point)
                    for u in T.unroll(tile):
                        column = T.meta_var((block * tile + u) * b_column)
                        right = T.meta_var(code(B, offset_of(axis, b_lead) + r * b_step + column))
                        S[u] = S[u] + left * (right - b_zero_point)
                for u in T.unroll(tile):
                    column = T.meta_var((block * tile + u) * y_column)
                    Y[offset_of(axis, y_lead) + i * y_row + column] = requantize(S[u], multiplier, shift, output)
            if of_columns:
                for i, rest in T.grid(m, n - K[0]):
                    column = T.meta_var((K[0] + rest) * y_column)
                    Y[offset_of(axis, y_lead) + i * y_row + column] = tir.store(T.int32(0), output)

    return mat_mul if op.counted else without(mat_mul, ("K",))
