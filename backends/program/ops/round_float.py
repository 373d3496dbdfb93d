"""Integers with bits behind the point to the steps of a minifloat (`bevel.calib.arithmetic.round_float`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, element_by_element
from bevel.backends.program.op import Array, Op, Operand, activation, output
from bevel.calib.arithmetic.round_float import FloatSteps, float_steps
from bevel.calib.formats.float_format import E3M2, E4M3, FloatFormat


@dataclass(frozen=True)
class RoundFloat(Op):
    """x: x_dtype [size], steps times 2**fraction, but not -2**31; y: dtype [size], steps.

    fraction is 1 or more, and high * 2**(fraction + 1) fits int32.
    """

    size: int
    mantissa: int
    high: int
    fraction: int
    dtype: str = "int16"
    x_dtype: str = "int32"

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), self.x_dtype), output("y", (self.size,), self.dtype)

    @property
    def in_place(self) -> bool:
        return True

    @property
    def steps(self) -> FloatSteps:
        return FloatSteps(self.mantissa, self.high)

    def reference(self, *arrays: Array) -> Array:
        return self.steps.round_fine(arrays[0], self.fraction).astype(self.dtype)

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Every value, its ties with the next, their neighbours, and noise."""
        limit = self.high << self.fraction
        values = [float(value) for value in range(2 ** (self.mantissa + 1))]
        while values[-1] < self.high:
            values.append(values[-1] + 2.0 ** (int(values[-1]).bit_length() - 1 - self.mantissa))
        exact = np.array(values) * 2**self.fraction
        ties = (exact[1:] + exact[:-1]) / 2
        special = np.concatenate([ties, ties - 1, ties + 1, exact, [limit]]).astype(np.int64)
        noise = rng.integers(-limit, limit + 1, self.size)
        largest = int(np.iinfo(self.x_dtype).max)
        found = np.concatenate([special, -special, noise, [largest, -largest]])[-self.size :]
        return (np.clip(found, -largest, largest).astype(self.x_dtype),)


def cases() -> Iterable[RoundFloat]:
    def case(format: FloatFormat, size: int, fraction: int | None = None, dtype: str = "int16") -> RoundFloat:
        steps = float_steps(format)
        if steps is None:
            raise ValueError(f"{format.name} has no wide steps")
        bits = steps.fraction if fraction is None else fraction
        return RoundFloat(size, steps.mantissa, steps.high, bits, dtype, steps.fine_dtype)

    yield case(E3M2, 1)
    yield case(E3M2, 900)
    yield case(E3M2, 500, fraction=1)
    yield case(E4M3, 3000, dtype="int32")
    yield case(FloatFormat(3, 4), 3000)
    yield case(FloatFormat(2, 0), 60)
