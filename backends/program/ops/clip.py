"""Clamping without a change of scale: y = min(max(x, low), high)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, element_by_element
from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, output


@dataclass(frozen=True)
class Clip(Op):
    """x: dtype [size]; y: dtype [size]; low <= high, both values of dtype."""

    size: int
    low: int
    high: int
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), self.dtype), output("y", (self.size,), self.dtype)

    @property
    def in_place(self) -> bool:
        return True

    def reference(self, *arrays: Array) -> Array:
        (x,) = arrays
        result: Array = np.clip(x, self.low, self.high)
        return result

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        low, high = inputs[0] or (self.low, self.high)
        return max(min(low, self.high), self.low), max(min(high, self.high), self.low)

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, (self.size,), self.dtype),)


def cases() -> Iterable[Clip]:
    yield Clip(1, low=0, high=0)
    yield Clip(77, low=-128, high=127)
    yield Clip(77, low=-128, high=-128)
    yield Clip(33, low=-3, high=100)
    yield Clip(258, low=127, high=127)
    yield Clip(35, low=-2048, high=2047, dtype="int16")
    yield Clip(35, low=0, high=229376, dtype="int32")
