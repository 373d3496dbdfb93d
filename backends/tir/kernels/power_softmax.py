"""The loops of `PowerSoftmax`: `bevel.backends.program.ops.power_softmax`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.power_softmax import PowerSoftmax
from bevel.backends.tir.kernels.softmax import row_loops, rows_of
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import without
from bevel.calib.arithmetic.power_softmax import LEAST, NONE
from bevel.calib.arithmetic.softmax import FINE, LARGEST


def build(op: PowerSoftmax, name: str) -> Any:
    """Thresholds once a row, then a search among them in four halvings, as there are 15."""
    n, x_dtype, rows, mask = op.n, op.x_dtype, rows_of(op), op.mask
    extents, shape, loops = rows.extents, (op.rows, op.n), row_loops(op, rows)
    tripled = "uint32" if 3 * n * LARGEST + 2 ** (LEAST + 1) < 2**32 else "uint64"
    prefix = mask is not None and mask.prefix

    @T.prim_func(s_tir=True)
    def power_softmax(
        X: T.Buffer(shape, x_dtype),
        K: T.Buffer((rows.size,), rows.dtype),
        C: T.Buffer((op.coarse,), "uint16"),
        F: T.Buffer((FINE,), "uint16"),
        Y: T.Buffer(shape, "int8"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        M = T.sblock_alloc_buffer((5,), "int32")  # largest, distance, exponential, sum, place
        S = T.sblock_alloc_buffer((NONE,), "int32")
        for at in T.grid(*extents):
            i = T.meta_var(rows.row(at))
            kept = T.meta_var(K[rows.mask(at)] if prefix else n)
            loops.largest(M, X, K, at, i, kept)
            loops.summed(M, M, 3, X, K, C, F, at, i, kept)
            M[3] = T.max(M[3], 1)
            for c in T.unroll(LEAST):
                S[c] = ceiled(T.cast(M[3], tripled) * tirx.const(3, tripled), c + 2, tripled)
            S[LEAST] = ceiled(T.cast(M[3], tripled), LEAST + 1, tripled)
            for j in T.serial(kept):
                loops.exponential(M, X, K, C, F, at, i, j)
                M[4] = T.if_then_else(M[2] < S[7], 8, 0)
                M[4] = M[4] + T.if_then_else(M[2] < S[M[4] + 3], 4, 0)
                M[4] = M[4] + T.if_then_else(M[2] < S[M[4] + 1], 2, 0)
                M[4] = M[4] + T.if_then_else(M[2] < S[M[4]], 1, 0)
                Y[i, j] = T.cast(M[4], "int8")
            if prefix:
                for j in T.serial(n - kept):
                    Y[i, kept + j] = T.int8(NONE)

    return power_softmax if mask is not None else without(power_softmax, ("K",))


def ceiled(value: Any, bits: int, dtype: str) -> Any:
    """TIR for a positive integer over 2**bits, rounded up, as int32."""
    places, one = T.cast(bits, dtype), tirx.const(1, dtype)
    return T.cast((value + (one << places) - one) >> places, "int32")
