"""ReduceMean of int16 or int32, or to them: as `bevel.backends.program.ops.reduce_mean`, in int64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import example_of
from bevel.backends.program.op import Array, Op, Operand, activation, stored
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class WideMean(Op):
    """x: x_dtype [outer, reduced, inner]; y: output.dtype [outer, inner]: requantize(sum(x) - reduced * x_zero_point).

    The multiplier and the shift hold 1 / reduced too; the sum times the multiplier stays below 2**62.
    """

    outer: int
    reduced: int
    inner: int
    x_zero_point: int
    multiplier: int
    shift: int
    output: Output
    x_dtype: str = "int16"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.outer, self.reduced, self.inner), self.x_dtype),
            stored("y", (self.outer, self.inner), self.output),
        )

    def reference(self, *arrays: Array) -> Array:
        (x,) = arrays
        total = x.sum(axis=1, dtype=np.int64) - self.reduced * self.x_zero_point
        return requantize(total, np.array(self.multiplier), np.array(self.shift), self.output)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (example_of(rng, self.operands()[0]),)


def cases() -> Iterable[WideMean]:
    steps = Output(0, -(448 << 12), 448 << 12, "int32")
    yield WideMean(1, 1, 1, 0, *fixed_point(1.0), Output(0, -(2**15), 2**15 - 1, "int16"))
    yield WideMean(1, 64, 64, 0, *fixed_point(1.1 / 64 * 2**12), steps)
    yield WideMean(3, 49, 5, -300, *fixed_point(2.3 / 49), Output(90, -(2**15), 2**15 - 1, "int16"))
    yield WideMean(2, 3, 6, 0, *fixed_point(2.0**-20 / 3), Output(5, -60, 70), "int32")
    yield WideMean(2, 2, 7, -3, *fixed_point(5.7 / 2 * 2**12), steps, "int8")
