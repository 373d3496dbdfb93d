"""The same reals on another scale, for int16 and int32 in or out: y = requantize(x - x_zero_point)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, element_by_element
from bevel.backends.program.examples import example_of
from bevel.backends.program.op import Array, Op, Operand, activation, stored
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class Rescale(Op):
    """x: x_dtype [size]; y: output.dtype [size]. (x - x_zero_point) * multiplier stays below 2**62."""

    size: int
    x_zero_point: int
    multiplier: int
    shift: int
    output: Output
    x_dtype: str = "int16"

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), self.x_dtype), stored("y", (self.size,), self.output)

    @property
    def in_place(self) -> bool:
        return self.x_dtype == self.output.dtype

    def reference(self, *arrays: Array) -> Array:
        centred = arrays[0].astype(np.int64) - self.x_zero_point
        return requantize(centred, np.array(self.multiplier), np.array(self.shift), self.output)

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (example_of(rng, self.operands()[0]),)


def cases() -> Iterable[Rescale]:
    int16, steps = Output(0, -(2**15), 2**15 - 1, "int16"), Output(0, 0, 448 << 12, "int32")
    yield Rescale(1, 0, *fixed_point(1.0), int16)
    yield Rescale(300, 32767, *fixed_point(1.3), int16)
    yield Rescale(300, 0, *fixed_point(2.0**-20), Output(5, -60, 70), "int32")
    yield Rescale(300, -3, *fixed_point(0.7 * 2**12), steps, "int8")
