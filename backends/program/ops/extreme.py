"""Max and Min of two tensors: both on the result's scale with the same shift, compared, and rounded once.

    y = store(max(a * a_multiplier + a_offset, b * b_multiplier + b_offset) >> shift)

A shift keeps order, so that this is the larger of the two as they would be rounded alone. The offsets hold
2**(shift - 1) and the zero points.
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
class Extreme(Op):
    """a: a_dtype a_shape; b: b_dtype b_shape; y: output.dtype shape, to which both broadcast as in numpy.

    Both sums fit int32 where all of them are int8, else int64.
    """

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_multiplier: int
    b_multiplier: int
    a_offset: int
    b_offset: int
    shift: int
    largest: bool
    output: Output
    a_dtype: str = "int8"
    b_dtype: str = "int8"

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
        pick = np.maximum if self.largest else np.minimum
        sums = pick(a * self.a_multiplier + self.a_offset, b * self.b_multiplier + self.b_offset)
        return self.output.store(sums >> self.shift)

    def banding(self, laid: Laid) -> Banding | None:
        def cut(shape: Shape, a_shape: Shape, b_shape: Shape) -> Op:
            return replace(self, shape=shape, a_shape=a_shape, b_shape=b_shape)

        return broadcast(laid, (self.shape, self.a_shape, self.b_shape), cut)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return random_values(rng, self.a_shape, self.a_dtype), random_values(rng, self.b_shape, self.b_dtype)


def cases() -> Iterable[Extreme]:
    for largest in (True, False):
        yield Extreme((1,), (1,), (1,), 1, 1, 0, 0, 0, largest, Output())
        yield Extreme(
            (2, 5, 3, 7), (2, 5, 3, 7), (3, 1), 700_001, 523_456, 2**19, 128 * 523_456, 20, largest, Output(-7)
        )
        yield Extreme((3, 4), (3, 4), (3, 4), 3, 2, 9, 1, 1, largest, Output(3, -50, 60))
        int16 = Output(3, -(2**15), 2**15 - 1, "int16")
        yield Extreme((3, 4), (3, 4), (4,), 2**30, 2**29, 2**45, 77, 30, largest, int16, "int16", "int16")
        yield Extreme((3, 4), (3, 4), (), 2**20, 2**29, 2**25, 77, 30, largest, int16, "int16", "int8")
