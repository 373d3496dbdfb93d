"""Sums as integers of another scale, ties to even: y = even_shift_right(x * multiplier), stored as `output` says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, element_by_element
from bevel.backends.program.op import Array, Op, Operand, activation, stored
from bevel.calib.arithmetic.requantize import Output, even_shift_right, fixed_point


@dataclass(frozen=True)
class RoundEven(Op):
    """x: int32 [size], within +-`reach`; y: output.dtype [size]. reach * multiplier stays below 2**61."""

    size: int
    multiplier: int
    shift: int
    tolerance: int
    output: Output
    reach: int

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), "int32"), stored("y", (self.size,), self.output)

    def reference(self, *arrays: Array) -> Array:
        product = arrays[0].astype(np.int64) * self.multiplier
        return self.output.store(even_shift_right(product, self.shift, self.tolerance))

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """The ends, zero and its neighbours, and what lies between, as far as there is room."""
        near = np.arange(-64, 65)
        ends = np.array([self.reach, -self.reach])
        drawn = rng.integers(-self.reach, self.reach, self.size, endpoint=True)
        values = np.concatenate([ends, near[np.abs(near) <= self.reach], drawn])
        return (values[: self.size].astype(np.int32),)


def cases() -> Iterable[RoundEven]:
    for ratio, reach in ((0.25, 1020), (0.5, 600), (1 / 6, 2000), (1.0, 127), (3.5, 100), (2.0**-20, 2**27)):
        yield RoundEven(400, *fixed_point(ratio), reach, Output(), reach)
    yield RoundEven(300, *fixed_point(1 / 12), 9000, Output(-128, -128, 90), 9000)
    yield RoundEven(300, *fixed_point(1 / 4), 2**17, Output(5, -(2**15), 2**15 - 1, "int16"), 2**17)
    yield RoundEven(1, *fixed_point(0.5), 1, Output(), 1)
