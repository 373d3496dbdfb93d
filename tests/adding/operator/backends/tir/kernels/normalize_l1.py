"""The loops of `NormalizeL1`: `bevel.backends.program.ops.normalize_l1`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.normalize_l1 import NormalizeL1
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T


def build(op: NormalizeL1, name: str) -> Any:
    rows, n, zero_point, output = op.rows, op.n, op.x_zero_point, op.output
    multiplier, shift = T.int64(op.multiplier), T.int64(op.shift)

    @T.prim_func(s_tir=True)
    def normalize_l1(X: T.Buffer((rows, n), "int8"), Y: T.Buffer((rows, n), "int8")):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        S = T.sblock_alloc_buffer((1,), "int32")
        V = T.sblock_alloc_buffer((2,), "int64")  # the divisor, the dividend
        for i in T.serial(rows):
            S[0] = 0
            for j in T.serial(n):
                S[0] = S[0] + T.abs(T.cast(X[i, j], "int32") - zero_point)
            V[0] = T.shift_left(T.cast(T.max(S[0], 1), "int64"), shift + T.int64(1))
            for j in T.serial(n):
                step = T.meta_var(T.cast(T.cast(X[i, j], "int32") - zero_point, "int64"))
                V[1] = step * multiplier * T.int64(2) + T.shift_right(V[0], T.int64(1))
                Y[i, j] = tir.store(T.cast(T.floordiv(V[1], V[0]), "int32"), output)

    return normalize_l1
