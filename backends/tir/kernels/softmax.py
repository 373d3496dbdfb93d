"""The loops of `Softmax` and `WideSoftmax`: `bevel.backends.program.ops.softmax`."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from bevel.backends.program.ops.softmax import ENTRIES, Softmax, WideSoftmax
from bevel.backends.tir import arithmetic as tir
from bevel.calib.arithmetic.softmax import FINE, RECIPROCAL_BITS, TABLE_BITS

FINE_BITS = 8


def build(op: Softmax | WideSoftmax, name: str) -> Any:
    return of_two_tables(op, name) if isinstance(op, WideSoftmax) else of_one_table(op, name)


def of_one_table(op: Softmax, name: str) -> Any:
    rows, n, output = op.rows, op.n, op.output

    @T.prim_func(s_tir=True)
    def softmax(
        X: T.Buffer((rows, n), "int8"),
        E: T.Buffer((ENTRIES,), "int32"),
        Y: T.Buffer((rows, n), "int8"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        M = T.sblock_alloc_buffer((1,), "int32")
        S = T.sblock_alloc_buffer((1,), "uint32")
        for i in T.serial(rows):
            M[0] = -128
            for j in T.serial(n):
                M[0] = T.max(M[0], T.cast(X[i, j], "int32"))
            S[0] = T.uint32(0)
            for j in T.serial(n):
                S[0] = S[0] + T.cast(E[M[0] - T.cast(X[i, j], "int32")], "uint32")
            for j in T.serial(n):
                Y[i, j] = tir.store(share(E[M[0] - T.cast(X[i, j], "int32")], S[0]), output)

    return softmax


def share(exponential: Any, total: Any) -> Any:
    """TIR for the rounded 256 * exponential / total of a positive uint32 total, as int32 in [0, 256]."""
    wide = T.cast(exponential, "uint32") * T.uint32(256) + T.shift_right(total, T.uint32(1))
    return T.cast(T.truncdiv(wide, total), "int32")


def of_two_tables(op: WideSoftmax, name: str) -> Any:
    rows, n, x_dtype, y_dtype, output = op.rows, op.n, op.x_dtype, op.output.dtype, op.output
    down, share_shift = 2 * TABLE_BITS - op.exponent, RECIPROCAL_BITS - op.bits

    @T.prim_func(s_tir=True)
    def wide_softmax(
        X: T.Buffer((rows, n), x_dtype),
        C: T.Buffer((op.coarse,), "int32"),
        F: T.Buffer((FINE,), "int32"),
        Y: T.Buffer((rows, n), y_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        M = T.sblock_alloc_buffer((4,), "int32")  # largest, distance, exponential, sum
        S = T.sblock_alloc_buffer((1,), "int64")
        product = T.meta_var(T.cast(C[M[1] >> FINE_BITS], "int64") * T.cast(F[M[1] & (FINE - 1)], "int64"))
        for i in T.serial(rows):
            M[0] = T.cast(X[i, 0], "int32")
            for j in T.serial(n):
                M[0] = T.max(M[0], T.cast(X[i, j], "int32"))
            M[3] = 0
            for j in T.serial(n):
                M[1] = M[0] - T.cast(X[i, j], "int32")
                M[3] = M[3] + tir.narrowed(product, down)
            S[0] = T.truncdiv(T.int64(2**RECIPROCAL_BITS), T.cast(M[3], "int64"))
            for j in T.serial(n):
                M[1] = M[0] - T.cast(X[i, j], "int32")
                M[2] = tir.narrowed(product, down)
                Y[i, j] = tir.store(tir.narrowed(T.cast(M[2], "int64") * S[0], share_shift), output)

    return wide_softmax
