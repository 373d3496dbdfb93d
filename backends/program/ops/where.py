"""Where: one of two tensors on different scales, as a truth value says, rescaled with one rounding.

y = store((c ? a * a_multiplier + a_offset : b * b_multiplier + b_offset) >> shift)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, stored
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class Where(Op):
    """c: bool c_shape; a: a_dtype a_shape; b: b_dtype b_shape; y: output.dtype shape, to which all broadcast.

    Both sums fit int32 where all of them are int8, else int64.
    """

    shape: tuple[int, ...]
    c_shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_multiplier: int
    b_multiplier: int
    a_offset: int
    b_offset: int
    shift: int
    output: Output
    a_dtype: str = "int8"
    b_dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("c", self.c_shape, "bool"),
            activation("a", self.a_shape, self.a_dtype),
            activation("b", self.b_shape, self.b_dtype),
            stored("y", self.shape, self.output),
        )

    def reference(self, *arrays: Array) -> Array:
        c, a, b = (np.broadcast_to(array, self.shape) for array in arrays)
        first = a.astype(np.int64) * self.a_multiplier + self.a_offset
        second = b.astype(np.int64) * self.b_multiplier + self.b_offset
        return self.output.store(np.where(c, first, second) >> self.shift)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        a, b = random_values(rng, self.a_shape, self.a_dtype), random_values(rng, self.b_shape, self.b_dtype)
        return rng.random(self.c_shape) < 0.5, a, b


def cases() -> Iterable[Where]:
    int16 = Output(3, -(2**15), 2**15 - 1, "int16")
    yield Where((2, 5, 3), (5, 3), (2, 5, 3), (), 700_001, 523_456, 2**19, 128 * 523_456, 20, Output(-7))
    yield Where((3, 4), (3, 1), (3, 4), (3, 4), 3, 2, 9, 1, 1, Output(3, -50, 60))
    yield Where((3, 4), (3, 4), (3, 4), (4,), 2**30, 2**29, 2**45, 77, 30, int16, "int16", "int16")
