"""The loops of `Softmax` and `WideSoftmax`: `bevel.backends.program.ops.softmax`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bevel.backends.program.ops.power_softmax import PowerSoftmax
from bevel.backends.program.ops.softmax import ENTRIES, Mask, Softmax, WideSoftmax
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import offset_of, without
from bevel.calib.arithmetic.softmax import ENTRY_BITS, FACTOR_BITS, FINE, RECIPROCAL_BITS

FINE_BITS = 8
MOST_HELD = 16  # exponentials of a row that are held in registers: gcc unrolls no longer loops whole


def build(op: Softmax | WideSoftmax, name: str) -> Any:
    function = of_two_tables(op, name) if isinstance(op, WideSoftmax) else of_one_table(op, name)
    return without(function, ("K",)) if op.mask is None else function


class Rows(NamedTuple):
    """Loops over rows: extents, and strides of the row's number and of its mask's."""

    extents: tuple[int, ...]
    rows: tuple[int, ...]
    masks: tuple[int, ...]
    dtype: str
    size: int

    def row(self, at: Any) -> Any:
        return offset_of(at, self.rows)

    def mask(self, at: Any) -> Any:
        return offset_of(at, self.masks)


def rows_of(op: Softmax | WideSoftmax | PowerSoftmax) -> Rows:
    if op.mask is None:
        return Rows((op.rows,), (1,), (0,), "int32", 1)
    operand = op.mask.operand()
    extents, (rows, masks) = broadcast_axes(op.mask.shape, op.mask.shape, op.mask.mask_shape)
    return Rows(extents, rows, masks, operand.dtype, operand.size)


class RowLoops(NamedTuple):
    """Macros of a row `i`, the mask's row at `at`, and how many elements it keeps. largest (M, X, K, at, i, kept): into
    M[0]; exponential (M, X, K, C, F, at, i, j): of element j, into M[2], by way of M[1]; summed (M, S, place, X, K, C,
    F, at, i, kept): all of them, into S[place]."""

    largest: Any
    exponential: Any
    summed: Any


def row_loops(op: Softmax | WideSoftmax | PowerSoftmax, rows: Rows, sum_dtype: str = "int32") -> RowLoops:
    n, mask, lowest = op.n, op.mask, int(np.iinfo(op.operands()[0].dtype).min)
    truths = None if mask is None or mask.prefix else mask

    @T.macro
    def largest(M, X, K, at, i, kept):
        M[0] = lowest
        for j in T.serial(kept):
            M[0] = T.max(M[0], only(truths, K, rows.mask(at) * n + j, T.cast(X[i, j], "int32"), lowest))

    @T.macro
    def of_element(M, X, K, C, F, at, i, j):
        M[1] = only(truths, K, rows.mask(at) * n + j, M[0] - T.cast(X[i, j], "int32"), 0)
        M[2] = only(truths, K, rows.mask(at) * n + j, exponential(M[1], C, F), 0)

    @T.macro
    def summed(M, S, place, X, K, C, F, at, i, kept):
        S[place] = T.cast(0, sum_dtype)
        for j in T.serial(kept):
            of_element(M, X, K, C, F, at, i, j)
            S[place] = S[place] + T.cast(M[2], sum_dtype)

    return RowLoops(largest, of_element, summed)


def of_one_table(op: Softmax, name: str) -> Any:
    n, output, rows, mask = op.n, op.output, rows_of(op), op.mask
    extents, shape = rows.extents, (op.rows, op.n)
    prefix, truths = mask is not None and mask.prefix, None if mask is None or mask.prefix else mask
    loops = row_loops(op, rows)
    holds = mask is None and n <= MOST_HELD  # in place, they would be looked up again behind each store

    @T.prim_func(s_tir=True)
    def softmax(
        X: T.Buffer(shape, "int8"),
        K: T.Buffer((rows.size,), rows.dtype),
        E: T.Buffer((ENTRIES,), "int32"),
        Y: T.Buffer(shape, "int8"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        M = T.sblock_alloc_buffer((1,), "int32")
        S = T.sblock_alloc_buffer((1 + n if holds else 1,), "uint32")  # sum, exponentials
        for at in T.grid(*extents):
            i = T.meta_var(rows.row(at))
            kept = T.meta_var(K[rows.mask(at)] if prefix else n)
            loops.largest(M, X, K, at, i, kept)
            S[0] = T.uint32(0)
            for j in T.serial(kept):
                found = T.meta_var(T.cast(E[M[0] - T.cast(X[i, j], "int32")], "uint32"))
                if holds:
                    S[1 + j] = found
                    S[0] = S[0] + S[1 + j]
                else:
                    S[0] = S[0] + only(truths, K, rows.mask(at) * n + j, found, T.uint32(0))
            if truths is not None:
                S[0] = T.max(S[0], T.uint32(1))
            for j in T.serial(kept):
                exponential = T.meta_var(S[1 + j] if holds else E[M[0] - T.cast(X[i, j], "int32")])
                found = T.meta_var(share(exponential, S[0]))
                Y[i, j] = tir.store(only(truths, K, rows.mask(at) * n + j, found, 0), output)
            if prefix:
                for j in T.serial(n - kept):
                    Y[i, kept + j] = tir.store(T.int32(0), output)

    return softmax


def only(mask: Mask | None, K: Any, place: Any, value: Any, otherwise: Any) -> Any:
    """`value` where the mask keeps the element; it is not computed where not, as tables end."""
    if mask is None:
        return value
    return T.if_then_else(K[place], otherwise, value) if mask.inverted else T.if_then_else(K[place], value, otherwise)


def share(exponential: Any, total: Any) -> Any:
    """TIR for the rounded 256 * exponential / total of a positive uint32 total, as int32 in [0, 256]."""
    wide = T.cast(exponential, "uint32") * T.uint32(256) + T.shift_right(total, T.uint32(1))
    return T.cast(T.truncdiv(wide, total), "int32")


def exponential(distance: Any, coarse: Any, fine: Any) -> Any:
    """TIR for `bevel.calib.arithmetic.softmax.exponentials` of an int32, as int32."""
    found = T.cast(coarse[distance >> FINE_BITS], "uint32") * T.cast(fine[distance & (FINE - 1)], "uint32")
    return T.cast(T.shift_right(found + T.uint32(1 << (ENTRY_BITS - 1)), T.uint32(ENTRY_BITS)), "int32")


def of_two_tables(op: WideSoftmax, name: str) -> Any:
    n, x_dtype, y_dtype, output, rows, mask = op.n, op.x_dtype, op.output.dtype, op.output, rows_of(op), op.mask
    extents, shape, loops = rows.extents, (op.rows, op.n), row_loops(op, rows, op.sum_dtype)
    prefix, truths = mask is not None and mask.prefix, None if mask is None or mask.prefix else mask

    @T.prim_func(s_tir=True)
    def wide_softmax(
        X: T.Buffer(shape, x_dtype),
        K: T.Buffer((rows.size,), rows.dtype),
        C: T.Buffer((op.coarse,), "uint16"),
        F: T.Buffer((FINE,), "uint16"),
        Y: T.Buffer(shape, y_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        M = T.sblock_alloc_buffer((4,), "int32")  # largest, distance, exponential, what the sum divides
        S = T.sblock_alloc_buffer((1,), op.sum_dtype)
        for at in T.grid(*extents):
            i = T.meta_var(rows.row(at))
            kept = T.meta_var(K[rows.mask(at)] if prefix else n)
            loops.largest(M, X, K, at, i, kept)
            loops.summed(M, S, 0, X, K, C, F, at, i, kept)
            if truths is not None:
                S[0] = T.max(S[0], T.cast(1, op.sum_dtype))
            whole = T.meta_var(T.truncdiv(T.int64(2**RECIPROCAL_BITS), T.cast(S[0], "int64")))
            M[3] = T.cast(T.min(whole, T.int64(2**FACTOR_BITS - 1)), "int32")
            for j in T.serial(kept):
                loops.exponential(M, X, K, C, F, at, i, j)
                Y[i, j] = tir.store(
                    tir.narrowed(T.cast(M[2], "int64") * T.cast(M[3], "int64"), RECIPROCAL_BITS - op.bits), output
                )
            if prefix:
                for j in T.serial(n - kept):
                    Y[i, kept + j] = tir.store(T.int32(0), output)

    return wide_softmax
