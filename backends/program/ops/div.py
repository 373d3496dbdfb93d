"""Div of two tensors by a table of reciprocals: y = requantize((a - a_zero_point) * reciprocals[b + 128])."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program import examples
from bevel.backends.program.bands import Banding, Laid, Shape, broadcast
from bevel.backends.program.op import Array, Op, Operand, activation, constant, stored
from bevel.backends.program.ops.table import ENTRIES
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class Div(Op):
    """a: int8 a_shape; b: int8 b_shape; reciprocals: int32 [256], by b + 128, below 2**22 or so in magnitude, so that
    products with 255 stay below 2**30; y: int8 shape, to which both broadcast as in numpy."""

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_zero_point: int
    multiplier: int
    shift: int
    output: Output

    def operands(self) -> tuple[Operand, ...]:
        table = constant("reciprocals", (ENTRIES,), "int32")
        return activation("a", self.a_shape), activation("b", self.b_shape), table, stored("y", self.shape, self.output)

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape

    def reference(self, *arrays: Array) -> Array:
        a, b = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays[:2])
        product = (a - self.a_zero_point) * arrays[2].astype(np.int64)[b + ENTRIES // 2]
        return requantize(product, np.array(self.multiplier), np.array(self.shift), self.output)

    def banding(self, laid: Laid) -> Banding | None:
        def cut(shape: Shape, a_shape: Shape, b_shape: Shape) -> Op:
            return replace(self, shape=shape, a_shape=a_shape, b_shape=b_shape)

        return broadcast(laid, (self.shape, self.a_shape, self.b_shape), cut)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        table = rng.integers(-(2**22), 2**22, ENTRIES, dtype=np.int32, endpoint=True)
        return examples.activations(rng, self.a_shape), examples.activations(rng, self.b_shape), table


def cases() -> Iterable[Div]:
    """Ratios on both sides of 1/4, where the arithmetic changes its form."""
    yield Div((1,), (1,), (1,), 0, *fixed_point(1e-6), Output())
    yield Div((2, 5, 3, 7), (2, 5, 3, 7), (2, 5, 1, 1), -128, *fixed_point(3e-6), Output(zero_point=127))
    yield Div((3, 6), (3, 1), (6,), 5, *fixed_point(0.3), Output(4, -100, 90))
