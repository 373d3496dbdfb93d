"""Add and Sub of two tensors: y = store((a * a_multiplier + b * b_multiplier + offset) >> shift), in int32.

Both inputs are brought to a common scale by small multipliers, so one rounding, whose half is in the offset, serves
the sum. Sub has a negative b_multiplier.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bevel.backends.program import examples
from bevel.backends.program.bands import Banding, Laid, Shape, broadcast
from bevel.backends.program.op import Array, Op, Operand, activation, stored
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class Add(Op):
    """a: int8 a_shape; b: int8 b_shape; y: int8 shape, to which both broadcast as in numpy.

    offset holds 2**(shift - 1) and both zero points' share. The sum must stay within int32, and after its shift 128
    away from the ends of int32.
    """

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_multiplier: int
    b_multiplier: int
    offset: int
    shift: int
    output: Output

    def operands(self) -> tuple[Operand, ...]:
        return activation("a", self.a_shape), activation("b", self.b_shape), stored("y", self.shape, self.output)

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape

    def reference(self, *arrays: Array) -> Array:
        a, b = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays)
        total = a * self.a_multiplier + b * self.b_multiplier + self.offset
        return self.output.store(total >> self.shift)

    def banding(self, laid: Laid) -> Banding | None:
        def cut(shape: Shape, a_shape: Shape, b_shape: Shape) -> Op:
            return replace(self, shape=shape, a_shape=a_shape, b_shape=b_shape)

        return broadcast(laid, (self.shape, self.a_shape, self.b_shape), cut)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return examples.activations(rng, self.a_shape), examples.activations(rng, self.b_shape)


def cases() -> Iterable[Add]:
    def add(shape: tuple[int, ...], a_shape: tuple[int, ...], b_shape: tuple[int, ...], **changes: Any) -> Add:
        scaled: dict[str, Any] = {"a_multiplier": 700_001, "b_multiplier": 523_456, "shift": 20, "output": Output(-7)}
        scaled |= {"offset": 2**19 + 128 * 700_001} | changes
        return Add(shape, a_shape, b_shape, **scaled)

    yield add((1,), (1,), (1,))
    yield add((2, 5, 3, 7), (2, 5, 3, 7), (2, 5, 3, 7))
    yield add((1, 64), (1, 64), (1, 64), b_multiplier=-999_999, output=Output(zero_point=127))
    yield add((2, 4, 3, 5), (2, 4, 3, 5), (5,), output=Output(-128))
    yield add((2, 4, 3, 5), (2, 1, 1, 5), (2, 4, 3, 5))
    yield add((2, 3, 4, 5), (3, 1, 5), (2, 1, 4, 1), a_multiplier=-3, b_multiplier=2, offset=1, shift=1)
    yield add((3, 4), (3, 4), (), a_multiplier=1, b_multiplier=-1, offset=0, shift=0, output=Output(3, -50, 60))
    yield add((2, 3, 2, 3, 2), (2, 1, 2, 1, 2), (1, 3, 1, 3, 1))
