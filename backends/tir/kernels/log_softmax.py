"""The loops of `LogSoftmax`: `bevel.backends.program.ops.log_softmax`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.log_softmax import LogSoftmax
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.kernels.softmax import exponential
from bevel.backends.tir.lazy import T
from bevel.calib.arithmetic.log_softmax import FRACTION_BITS, LOG_OF_TWO, LOGARITHMS, SUM_BITS
from bevel.calib.arithmetic.softmax import ENTRY_BITS, FINE


def build(op: LogSoftmax, name: str) -> Any:
    rows, n, x_dtype, y_dtype, output = op.rows, op.n, op.x_dtype, op.output.dtype, op.output
    entries = len(LOGARITHMS)
    a, b, offset, shift = (T.int64(value) for value in (op.a, op.b, op.offset, op.shift))
    first = (SUM_BITS - 1 - ENTRY_BITS) * LOG_OF_TWO

    @T.prim_func(s_tir=True)
    def log_softmax(
        X: T.Buffer((rows, n), x_dtype),
        C: T.Buffer((op.coarse,), "uint16"),
        F: T.Buffer((FINE,), "uint16"),
        G: T.Buffer((entries,), "int32"),
        Y: T.Buffer((rows, n), y_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        N = T.sblock_alloc_buffer((5,), "int32")  # largest, distance, sum, index, logarithm
        R = T.sblock_alloc_buffer((1,), "int64")
        for i in T.serial(rows):
            N[0] = T.cast(X[i, 0], "int32")
            for j in T.serial(n):
                N[0] = T.max(N[0], T.cast(X[i, j], "int32"))
            N[2] = 0
            for j in T.serial(n):
                N[1] = N[0] - T.cast(X[i, j], "int32")
                N[2] = N[2] + exponential(N[1], C, F)
            N[4] = T.int32(first)
            for _ in T.serial(SUM_BITS - 1):
                if N[2] < (1 << (SUM_BITS - 1)):
                    N[2] = N[2] << 1
                    N[4] = N[4] - LOG_OF_TWO
            N[2] = N[2] - (1 << (SUM_BITS - 1))
            N[3] = N[2] >> FRACTION_BITS
            rise = T.meta_var(T.cast(G[N[3] + 1] - G[N[3]], "int64"))
            between = T.meta_var(rise * T.cast(N[2] & ((1 << FRACTION_BITS) - 1), "int64"))
            N[4] = N[4] + G[N[3]] + T.cast(between >> T.int64(FRACTION_BITS), "int32")
            R[0] = offset - T.cast(N[4], "int64") * b
            for j in T.serial(n):
                N[1] = N[0] - T.cast(X[i, j], "int32")
                Y[i, j] = tir.store((R[0] - T.cast(N[1], "int64") * a) >> shift, output)

    return log_softmax
