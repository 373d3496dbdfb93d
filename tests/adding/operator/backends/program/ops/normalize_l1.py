"""Rows over the sum of their magnitudes: LpNormalization of p = 1.

y = zy + floor((d * multiplier * 2 + t) / (2 * t)),    d = x - x_zero_point, t = max(sum(|d|), 1) * 2**shift
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, stored
from bevel.calib.arithmetic.requantize import Output, fixed_point


@dataclass(frozen=True)
class NormalizeL1(Op):
    """x: int8 [rows, n]; y: int8 [rows, n]. multiplier / 2**shift ~ 1 / (scale of y)."""

    rows: int
    n: int
    x_zero_point: int
    multiplier: int
    shift: int
    output: Output

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.rows, self.n)), stored("y", (self.rows, self.n), self.output)

    def reference(self, *arrays: Array) -> Array:
        steps = arrays[0].astype(np.int64) - self.x_zero_point
        total = np.maximum(np.abs(steps).sum(axis=1, keepdims=True), 1) << self.shift
        return self.output.store((steps * self.multiplier * 2 + total) // (2 * total))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, (self.rows, self.n), "int8")
        x[-1] = self.x_zero_point  # a row of zeros
        return (x,)


def cases() -> Iterable[NormalizeL1]:
    yield NormalizeL1(1, 1, 0, *fixed_point(127.0), Output())
    yield NormalizeL1(3, 10, -7, *fixed_point(200.0), Output(-128))
    yield NormalizeL1(2, 33, 127, *fixed_point(60.0), Output(5, -60, 70))
