"""Div of two tensors of which one, or the result, is wider than int8: a division of integers, rounded half away from 0.

y = store(+-(2 * |a - a_zero_point| * multiplier + d) // (2 * d)),    d = |b - b_zero_point| << shift, b's zero as 1
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
class WideDiv(Op):
    """a: a_dtype a_shape; b: b_dtype b_shape; y: output.dtype shape, to which both broadcast as in numpy.

    2 * |a - a_zero_point| * multiplier + d and 2 * d stay below 2**63.
    """

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_zero_point: int
    b_zero_point: int
    multiplier: int
    shift: int
    output: Output
    a_dtype: str = "int16"
    b_dtype: str = "int16"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("a", self.a_shape, self.a_dtype),
            activation("b", self.b_shape, self.b_dtype),
            stored("y", self.shape, self.output),
        )

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape and self.a_dtype == self.output.dtype

    def reference(self, *arrays: Array) -> Array:
        a, b = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays)
        a_steps, b_steps = a - self.a_zero_point, b - self.b_zero_point
        divisor = np.where(b_steps == 0, 1, np.abs(b_steps)) << self.shift
        quotient = (2 * np.abs(a_steps) * self.multiplier + divisor) // (2 * divisor)
        return self.output.store(np.where((a_steps < 0) != (b_steps < 0), -quotient, quotient))

    def banding(self, laid: Laid) -> Banding | None:
        def cut(shape: Shape, a_shape: Shape, b_shape: Shape) -> Op:
            return replace(self, shape=shape, a_shape=a_shape, b_shape=b_shape)

        return broadcast(laid, (self.shape, self.a_shape, self.b_shape), cut)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return random_values(rng, self.a_shape, self.a_dtype), random_values(rng, self.b_shape, self.b_dtype)


def cases() -> Iterable[WideDiv]:
    int16 = Output(3, -(2**15), 2**15 - 1, "int16")
    yield WideDiv((1,), (1,), (1,), 0, 0, 2**30, 30, int16)
    yield WideDiv((3, 50), (3, 50), (50,), -7, 5, 2**30 + 12345, 16, int16)
    yield WideDiv((3, 50), (3, 1), (50,), 9, -128, 2**30 + 12345, 22, Output(5, -60, 70), "int16", "int8")
    yield WideDiv((9, 9), (9, 1), (9,), 0, 0, 2**30, 43, int16, "int8", "int16")
