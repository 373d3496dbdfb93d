"""Div of two tensors. Of int8 by a table of reciprocals: y = requantize((a - a_zero_point) * reciprocals[b + 128]).

Where one of them, or the result, is wider, a division of integers, rounded half away from 0:

y = store(+-(2 * |a - a_zero_point| * multiplier + d) // (2 * d)),    d = |b - b_zero_point| << shift, b's zero as 1
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.op import Array, Operand, constant, stored
from bevel.backends.program.ops.table import ENTRIES
from bevel.backends.program.pairs import Pair
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class Div(Pair):
    """All int8. reciprocals: int32 [256], by b + 128, below 2**22 or so in magnitude, so that products with 255 stay
    below 2**30."""

    a_zero_point: int
    multiplier: int
    shift: int
    output: Output

    def result(self) -> Operand:
        return stored("y", self.shape, self.output)

    def operands(self) -> tuple[Operand, ...]:
        a, b, y = super().operands()
        return a, b, constant("reciprocals", (ENTRIES,), "int32"), y

    def reference(self, *arrays: Array) -> Array:
        a, b = self.broadcast(*arrays[:2])
        product = (a - self.a_zero_point) * arrays[2].astype(np.int64)[b + ENTRIES // 2]
        return requantize(product, np.array(self.multiplier), np.array(self.shift), self.output)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        table = rng.integers(-(2**22), 2**22, ENTRIES, dtype=np.int32, endpoint=True)
        return *super().example(rng), table


@dataclass(frozen=True)
class WideDiv(Pair):
    """2 * |a - a_zero_point| * multiplier + d and 2 * d stay below 2**63."""

    a_zero_point: int
    b_zero_point: int
    multiplier: int
    shift: int
    output: Output

    def result(self) -> Operand:
        return stored("y", self.shape, self.output)

    def reference(self, *arrays: Array) -> Array:
        a, b = self.broadcast(*arrays)
        a_steps, b_steps = a - self.a_zero_point, b - self.b_zero_point
        divisor = np.where(b_steps == 0, 1, np.abs(b_steps)) << self.shift
        quotient = (2 * np.abs(a_steps) * self.multiplier + divisor) // (2 * divisor)
        return self.output.store(np.where((a_steps < 0) != (b_steps < 0), -quotient, quotient))


def cases() -> Iterable[Div | WideDiv]:
    """Ratios on both sides of 1/4, where the arithmetic changes its form."""
    yield Div((1,), (1,), (1,), 0, *fixed_point(1e-6), Output())
    yield Div((2, 5, 3, 7), (2, 5, 3, 7), (2, 5, 1, 1), -128, *fixed_point(3e-6), Output(zero_point=127))
    yield Div((3, 6), (3, 1), (6,), 5, *fixed_point(0.3), Output(4, -100, 90))
    int16 = Output(3, -(2**15), 2**15 - 1, "int16")
    yield WideDiv((1,), (1,), (1,), 0, 0, 2**30, 30, int16, a_dtype="int16", b_dtype="int16")
    yield WideDiv((3, 50), (3, 50), (50,), -7, 5, 2**30 + 12345, 16, int16, a_dtype="int16", b_dtype="int16")
    yield WideDiv((3, 50), (3, 1), (50,), 9, -128, 2**30 + 12345, 22, Output(5, -60, 70), a_dtype="int16")
    yield WideDiv((9, 9), (9, 1), (9,), 0, 0, 2**30, 43, int16, b_dtype="int16")
