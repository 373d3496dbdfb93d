"""PRelu: y = store(((x - x_zero_point) * m + 2**(shift - 1)) >> shift), m one number where x is positive, else a slope.

Both hold the change of scale. Of int8, |x - x_zero_point| * m stays below 2**30, so that no wide product is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, Shape, broadcast
from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, stored
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class PRelu(Op):
    """x: x_dtype a_shape; slope: int32 b_shape; y: output.dtype shape, to which both broadcast as in numpy."""

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    x_zero_point: int
    positive: int
    shift: int
    output: Output
    x_dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", self.a_shape, self.x_dtype),
            activation("slope", self.b_shape, "int32"),
            stored("y", self.shape, self.output),
        )

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape and self.x_dtype == self.output.dtype

    def reference(self, *arrays: Array) -> Array:
        x, slope = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays)
        steps = x - self.x_zero_point
        half = (1 << self.shift) >> 1
        return self.output.store((steps * np.where(steps >= 0, self.positive, slope) + half) >> self.shift)

    def banding(self, laid: Laid) -> Banding | None:
        def cut(shape: Shape, a_shape: Shape, b_shape: Shape) -> Op:
            return replace(self, shape=shape, a_shape=a_shape, b_shape=b_shape)

        return broadcast(laid, (self.shape, self.a_shape, self.b_shape), cut)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        limit = 2**30 // 256
        slope = rng.integers(-limit, limit, self.b_shape, dtype=np.int32)
        return random_values(rng, self.a_shape, self.x_dtype), slope


def cases() -> Iterable[PRelu]:
    yield PRelu((1,), (1,), (1,), 0, 2**20, 20, Output())
    yield PRelu((2, 5, 3, 7), (2, 5, 3, 7), (7,), -128, 3_000_000, 22, Output(zero_point=-128))
    yield PRelu((2, 3, 4, 5), (2, 3, 4, 5), (3, 1, 1), 127, 700_001, 19, Output(5, -60, 70))
    yield PRelu((2, 3, 4), (2, 3, 4), (2, 3, 4), -3, 1, 0, Output(3, -50, 60))
    yield PRelu((2, 3, 4), (2, 3, 4), (4,), -3, 2**29, 30, Output(7, -(2**15), 2**15 - 1, "int16"), "int16")
    yield PRelu((5, 4), (5, 4), (4,), 0, 2**29, 21, Output(5, -60, 70), "int16")
