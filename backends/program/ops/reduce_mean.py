"""ReduceMean over neighbouring axes, GlobalAveragePool among them: y = requantize(sum(x) - reduced * x_zero_point)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import example_of
from bevel.backends.program.op import Array, Op, Operand, accumulator, activation, stored
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class ReduceMean(Op):
    """x: x_dtype [outer, reduced, inner]; y: output.dtype [outer, inner].

    The multiplier and the shift hold 1 / reduced too; the sum times the multiplier stays below 2**62.
    """

    outer: int
    reduced: int
    inner: int
    x_zero_point: int
    multiplier: int
    shift: int
    output: Output
    x_dtype: str = "int8"

    @property
    def sum_dtype(self) -> str:
        return accumulator(self.x_dtype, self.output.dtype)

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


def cases() -> Iterable[ReduceMean]:
    """Ratios on both sides of 1/4, where the arithmetic changes its form."""
    yield ReduceMean(1, 1, 1, 0, *fixed_point(1.0), Output())
    yield ReduceMean(1, 64, 64, -128, *fixed_point(1.1 / 64), Output(zero_point=-128))
    yield ReduceMean(3, 49, 5, 127, *fixed_point(2.3 / 49), Output(zero_point=90))
    yield ReduceMean(2, 3, 6, 17, *fixed_point(0.9 / 3), Output(5, -60, 70))
    yield ReduceMean(2, 2, 7, -3, *fixed_point(5.7 / 2), Output(zero_point=-1))
    yield ReduceMean(4, 10, 1, -3, *fixed_point(1.0 / 10), Output(zero_point=2))
    steps = Output(0, -(448 << 12), 448 << 12, "int32")
    yield ReduceMean(1, 1, 1, 0, *fixed_point(1.0), Output(0, -(2**15), 2**15 - 1, "int16"), "int16")
    yield ReduceMean(1, 64, 64, 0, *fixed_point(1.1 / 64 * 2**12), steps, "int16")
    yield ReduceMean(3, 49, 5, -300, *fixed_point(2.3 / 49), Output(90, -(2**15), 2**15 - 1, "int16"), "int16")
    yield ReduceMean(2, 3, 6, 0, *fixed_point(2.0**-20 / 3), Output(5, -60, 70), "int32")
    yield ReduceMean(2, 2, 7, -3, *fixed_point(5.7 / 2 * 2**12), steps, "int8")
