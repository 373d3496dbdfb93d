"""The loops of `Softmax`: `bevel.backends.program.ops.softmax`."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from bevel.backends.program.ops.softmax import ENTRIES, Softmax
from bevel.backends.tir import arithmetic as tir


def build(op: Softmax, name: str) -> Any:
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
