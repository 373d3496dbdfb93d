"""Softmax over the last axis where codes or shares are int16 (`bevel.calib.arithmetic.softmax`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, constant, output
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.kernels.copy import random_values
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE, RECIPROCAL_BITS, TABLE_BITS, exponent_bits, shares, tables

FINE_BITS = 8


@dataclass(frozen=True)
class WideSoftmax(Kernel):
    """x: x_dtype [rows, n]; coarse: int32 [distances / 256]; fine: int32 [256]; y: output.dtype [rows, n].

    The first entries of both tables are 2**30, the others not larger and not negative. n * 2**exponent < 2**31.
    """

    rows: int
    n: int
    coarse: int
    exponent: int
    bits: int
    output: Output
    x_dtype: str = "int16"

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.rows, self.n)
        return (
            activation("x", shape, self.x_dtype),
            constant("coarse", (self.coarse,), "int32"),
            constant("fine", (FINE,), "int32"),
            output("y", shape, self.output.dtype),
        )

    def reference(self, *arrays: Array) -> Array:
        x, coarse, fine = arrays
        return self.output.store(shares(x, coarse, fine, self.exponent, self.bits))

    def build(self, name: str) -> Any:
        rows, n, x_dtype, y_dtype, output = self.rows, self.n, self.x_dtype, self.output.dtype, self.output
        down, share_shift = 2 * TABLE_BITS - self.exponent, RECIPROCAL_BITS - self.bits

        @T.prim_func(s_tir=True)
        def wide_softmax(
            X: T.Buffer((rows, n), x_dtype),
            C: T.Buffer((self.coarse,), "int32"),
            F: T.Buffer((FINE,), "int32"),
            Y: T.Buffer((rows, n), y_dtype),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            M = T.sblock_alloc_buffer((1,), "int32")
            D = T.sblock_alloc_buffer((1,), "int32")
            E = T.sblock_alloc_buffer((1,), "int64")
            S = T.sblock_alloc_buffer((1,), "int64")
            product = T.meta_var(T.cast(C[D[0] >> FINE_BITS], "int64") * T.cast(F[D[0] & (FINE - 1)], "int64"))
            for i in T.serial(rows):
                M[0] = T.cast(X[i, 0], "int32")
                for j in T.serial(n):
                    M[0] = T.max(M[0], T.cast(X[i, j], "int32"))
                S[0] = T.int64(0)
                for j in T.serial(n):
                    D[0] = M[0] - T.cast(X[i, j], "int32")
                    S[0] = S[0] + tir.rounding_shift_right(product, down)
                S[0] = T.truncdiv(T.int64(2**RECIPROCAL_BITS), S[0])
                for j in T.serial(n):
                    D[0] = M[0] - T.cast(X[i, j], "int32")
                    E[0] = tir.rounding_shift_right(product, down)
                    Y[i, j] = tir.store(tir.rounding_shift_right(E[0] * S[0], share_shift), output)

        return wide_softmax

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, (self.rows, self.n), self.x_dtype)
        if self.rows > 1:
            x[-1] = x.flat[-1]  # the largest sum there is
            x[0] = rng.integers(-100, 100, self.n)  # codes near each other share between them
        return x, *tables(float(rng.uniform(1e-4, 0.05)), self.coarse * FINE)


def cases() -> Iterable[WideSoftmax]:
    int16 = Output(-(2**15), -(2**15), 2**15 - 1, "int16")
    for rows, n in ((1, 1), (2, 3), (3, 10), (2, 1001)):
        yield WideSoftmax(rows, n, FINE, exponent_bits(n), 16, int16)
    yield WideSoftmax(2, 17, FINE, exponent_bits(17), 8, Output(-128))
    yield WideSoftmax(3, 17, 1, exponent_bits(17), 16, int16, "int8")
    yield WideSoftmax(2, 4, FINE, exponent_bits(4), 12, Output(-2048, -2048, 1000, "int16"))
