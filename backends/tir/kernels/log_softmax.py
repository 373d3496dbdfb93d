"""LogSoftmax over the last axis, of int8 and wider (`bevel.calib.arithmetic.log_softmax`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, constant, output
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.kernels.copy import random_values
from bevel.calib.arithmetic.log_softmax import FRACTION_BITS, LOG_OF_TWO, LOGARITHMS, SUM_BITS, logarithm, sums
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE, TABLE_BITS, exponent_bits, tables

FINE_BITS = 8


@dataclass(frozen=True)
class LogSoftmax(Kernel):
    """x: x_dtype [rows, n]; coarse: int32 [coarse]; fine: int32 [256]; logarithms: int32 [257]; y like x, output.dtype.

    Tables of the exponential as in WideSoftmax. y = store((offset - distance * a - logarithm * b) >> shift), where no
    sum leaves 2**62.
    """

    rows: int
    n: int
    coarse: int
    exponent: int
    a: int
    b: int
    offset: int
    shift: int
    output: Output
    x_dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.rows, self.n)
        return (
            activation("x", shape, self.x_dtype),
            constant("coarse", (self.coarse,), "int32"),
            constant("fine", (FINE,), "int32"),
            constant("logarithms", LOGARITHMS.shape, "int32"),
            output("y", shape, self.output.dtype),
        )

    def reference(self, *arrays: Array) -> Array:
        x, coarse, fine, _ = arrays
        distance, total = sums(x, coarse, fine, self.exponent)
        less = distance * self.a + logarithm(total, self.exponent) * self.b
        return self.output.store((self.offset - less) >> self.shift)

    def build(self, name: str) -> Any:
        rows, n, x_dtype, y_dtype, output = self.rows, self.n, self.x_dtype, self.output.dtype, self.output
        down, entries = 2 * TABLE_BITS - self.exponent, len(LOGARITHMS)
        a, b, offset, shift = (T.int64(value) for value in (self.a, self.b, self.offset, self.shift))
        first = (SUM_BITS - 1 - self.exponent) * LOG_OF_TWO

        @T.prim_func(s_tir=True)
        def log_softmax(
            X: T.Buffer((rows, n), x_dtype),
            C: T.Buffer((self.coarse,), "int32"),
            F: T.Buffer((FINE,), "int32"),
            G: T.Buffer((entries,), "int32"),
            Y: T.Buffer((rows, n), y_dtype),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            N = T.sblock_alloc_buffer((5,), "int32")  # largest, distance, sum, index, logarithm
            R = T.sblock_alloc_buffer((1,), "int64")
            product = T.meta_var(T.cast(C[N[1] >> FINE_BITS], "int64") * T.cast(F[N[1] & (FINE - 1)], "int64"))
            for i in T.serial(rows):
                N[0] = T.cast(X[i, 0], "int32")
                for j in T.serial(n):
                    N[0] = T.max(N[0], T.cast(X[i, j], "int32"))
                N[2] = 0
                for j in T.serial(n):
                    N[1] = N[0] - T.cast(X[i, j], "int32")
                    N[2] = N[2] + T.cast(tir.rounding_shift_right(product, down), "int32")
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

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, (self.rows, self.n), self.x_dtype)
        if self.rows > 1:
            x[-1] = x.flat[-1]  # the largest sum there is
        return x, *tables(float(rng.uniform(1e-4, 0.05)), self.coarse * FINE), LOGARITHMS


def cases() -> Iterable[LogSoftmax]:
    int16 = Output(2**15 - 1, -(2**15), 2**15 - 1, "int16")
    for rows, n in ((1, 1), (2, 3), (3, 1001)):
        yield LogSoftmax(rows, n, 1, exponent_bits(n), 2**48 + 77, 2**30 + 5, 2**49, 50, Output(127))
    yield LogSoftmax(3, 10, FINE, exponent_bits(10), 2**43 + 77, 2**30 + 5, 2**43, 44, int16, "int16")
    yield LogSoftmax(3, 10, FINE, exponent_bits(10), 2**40, 2**30, 0, 46, Output(100, -90, 110), "int16")
