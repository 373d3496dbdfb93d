"""Softmax over the last axis where codes or shares are int16 (`bevel.calib.arithmetic.softmax`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, stored
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE, exponent_bits, shares, tables


@dataclass(frozen=True)
class WideSoftmax(Op):
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
            stored("y", shape, self.output),
        )

    def reference(self, *arrays: Array) -> Array:
        x, coarse, fine = arrays
        return self.output.store(shares(x, coarse, fine, self.exponent, self.bits))

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
