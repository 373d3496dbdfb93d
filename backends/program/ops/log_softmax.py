"""LogSoftmax over the last axis, of int8 and wider (`bevel.calib.arithmetic.log_softmax`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, stored
from bevel.calib.arithmetic.log_softmax import LOGARITHMS, logarithm, sums
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE, tables


@dataclass(frozen=True)
class LogSoftmax(Op):
    """x: x_dtype [rows, n]; coarse: uint16 [coarse]; fine: uint16 [256]; logarithms: int32 [257]; y: output.dtype
    [rows, n].

    Tables of the exponential as in WideSoftmax. y = store((offset - distance * a - logarithm * b) >> shift), where no
    sum leaves 2**62.
    """

    rows: int
    n: int
    coarse: int
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
            constant("coarse", (self.coarse,), "uint16"),
            constant("fine", (FINE,), "uint16"),
            constant("logarithms", LOGARITHMS.shape, "int32"),
            stored("y", shape, self.output),
        )

    def reference(self, *arrays: Array) -> Array:
        x, coarse, fine, _ = arrays
        distance, total = sums(x, coarse, fine)
        less = distance * self.a + logarithm(total) * self.b
        return self.output.store((self.offset - less) >> self.shift)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, (self.rows, self.n), self.x_dtype)
        if self.rows > 1:
            x[-1] = x.flat[-1]  # the largest sum there is
        return x, *tables(float(rng.uniform(1e-4, 0.05)), self.coarse * FINE), LOGARITHMS


def cases() -> Iterable[LogSoftmax]:
    int16 = Output(2**15 - 1, -(2**15), 2**15 - 1, "int16")
    for rows, n in ((1, 1), (2, 3), (3, 1001)):
        yield LogSoftmax(rows, n, 1, 2**48 + 77, 2**30 + 5, 2**49, 50, Output(127))
    yield LogSoftmax(3, 10, FINE, 2**43 + 77, 2**30 + 5, 2**43, 44, int16, "int16")
    yield LogSoftmax(3, 10, FINE, 2**40, 2**30, 0, 46, Output(100, -90, 110), "int16")
