"""The loops of `Gemm`: `bevel.backends.program.ops.gemm`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.shapes import register_tile
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T


def build(op: Gemm, name: str) -> Any:
    rows, k, n, output, y_dtype = op.rows, op.k, op.n, op.output, op.output.dtype
    tile = register_tile(n)

    @T.prim_func(s_tir=True)
    def gemm(
        X: T.Buffer((rows, k), "int8"),
        W: T.Buffer((n, k), "int8"),
        B: T.Buffer((n,), "int32"),
        M: T.Buffer((n,), "int32"),
        S: T.Buffer((n,), "int8"),
        Y: T.Buffer((rows, n), y_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for i, block in T.grid(rows, n // tile):
            A = T.alloc_buffer((tile,), "int32")
            for u in T.unroll(tile):
                A[u] = B[block * tile + u]
            for r in T.serial(k):
                for u in T.unroll(tile):
                    A[u] = A[u] + T.cast(X[i, r], "int32") * T.cast(W[block * tile + u, r], "int32")
            for u in T.unroll(tile):
                Y[i, block * tile + u] = tir.requantize(A[u], M[block * tile + u], S[block * tile + u], output)

    return gemm
