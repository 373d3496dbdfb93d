"""ReduceL2 over neighbouring axes: an integer root of the sum of squares (`bevel.calib.arithmetic.normalize.root`),
rescaled.

y = store((r * multiplier + half) >> (shift + s)),    sqrt(sum((x - x_zero_point)**2)) ~ r / 2**s
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, stored
from bevel.calib.arithmetic.normalize import root
from bevel.calib.arithmetic.requantize import MAX_SHIFT, Output, fixed_point, rounding_shift_right


@dataclass(frozen=True)
class ReduceL2(Op):
    """x: x_dtype [outer, reduced, inner]; y: output.dtype [outer, inner]. The sum of squares stays below 2**60.

    A shift beyond 62 is one by 62: both round everything to 0.
    """

    outer: int
    reduced: int
    inner: int
    x_zero_point: int
    multiplier: int
    shift: int
    output: Output
    x_dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        x = activation("x", (self.outer, self.reduced, self.inner), self.x_dtype)
        return x, stored("y", (self.outer, self.inner), self.output)

    def reference(self, *arrays: Array) -> Array:
        steps = arrays[0].astype(np.int64) - self.x_zero_point
        r, s = root((steps * steps).sum(axis=1))
        return self.output.store(rounding_shift_right(r * self.multiplier, np.minimum(self.shift + s, MAX_SHIFT)))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, self.operands()[0].shape, self.x_dtype)
        x[-1, :, 0] = self.x_zero_point
        return (x,)


def cases() -> Iterable[ReduceL2]:
    yield ReduceL2(1, 1, 1, 0, *fixed_point(1.0), Output())
    yield ReduceL2(3, 10, 1, -7, *fixed_point(0.11), Output(-128))
    yield ReduceL2(2, 9, 5, 127, *fixed_point(2.0**-30), Output(5, -60, 70))
    yield ReduceL2(2, 33, 5, 3, *fixed_point(0.2), Output(-(2**15), -(2**15), 2**15 - 1, "int16"), "int16")
