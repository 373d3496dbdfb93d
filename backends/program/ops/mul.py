"""Mul of two tensors: y = requantize((a - a_zero_point) * (b - b_zero_point))."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program import examples
from bevel.backends.program.bands import Banding, Laid, Shape, broadcast
from bevel.backends.program.op import Array, Op, Operand, activation, stored
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class Mul(Op):
    """a: int8 a_shape; b: int8 b_shape; y: int8 shape, to which both broadcast as in numpy."""

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_zero_point: int
    b_zero_point: int
    multiplier: int
    shift: int
    output: Output

    def operands(self) -> tuple[Operand, ...]:
        return activation("a", self.a_shape), activation("b", self.b_shape), stored("y", self.shape, self.output)

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape

    def reference(self, *arrays: Array) -> Array:
        a, b = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays)
        product = (a - self.a_zero_point) * (b - self.b_zero_point)
        return requantize(product, np.array(self.multiplier), np.array(self.shift), self.output)

    def banding(self, laid: Laid) -> Banding | None:
        def cut(shape: Shape, a_shape: Shape, b_shape: Shape) -> Op:
            return replace(self, shape=shape, a_shape=a_shape, b_shape=b_shape)

        return broadcast(laid, (self.shape, self.a_shape, self.b_shape), cut)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return examples.activations(rng, self.a_shape), examples.activations(rng, self.b_shape)


def cases() -> Iterable[Mul]:
    """Ratios on both sides of 1/4, where the arithmetic changes its form."""
    yield Mul((1,), (1,), (1,), 0, 0, *fixed_point(0.01), Output())
    yield Mul((2, 5, 3, 7), (2, 5, 3, 7), (2, 5, 3, 7), -128, 127, *fixed_point(0.004), Output(zero_point=127))
    yield Mul((2, 4, 3, 5), (2, 4, 3, 5), (2, 1, 1, 5), 3, -128, *fixed_point(0.004), Output(zero_point=-128))
    yield Mul((3, 6), (3, 1), (6,), -1, 5, *fixed_point(0.3), Output(4, -100, 90))
    yield Mul((9,), (9,), (1,), 0, -2, *fixed_point(1.8), Output(zero_point=-2))
    yield Mul((9,), (9,), (9,), 0, 0, *fixed_point(900.0), Output())
