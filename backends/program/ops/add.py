"""Add and Sub of two tensors: y = store((a * a_multiplier + b * b_multiplier + offset) >> shift).

Both inputs are brought to a common scale by multipliers, so one rounding, whose half is in the offset, serves the sum.
Sub has a negative b_multiplier.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from bevel.backends.program.op import Array, Operand, stored
from bevel.backends.program.pairs import Pair
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class Add(Pair):
    """offset holds 2**(shift - 1) and both zero points' share. The multipliers fit int32. Of int8 the sum must stay
    within int32, and after its shift 128 away from the ends of int32; else within int64."""

    a_multiplier: int
    b_multiplier: int
    offset: int
    shift: int
    output: Output

    def result(self) -> Operand:
        return stored("y", self.shape, self.output)

    @property
    def besides(self) -> int:
        """Elements whose sums are of 64 bits."""
        return 0 if self.sum_dtype == "int32" else prod(self.shape)

    @property
    def reach(self) -> int:
        """What no sum's magnitude passes, before its shift."""
        a, b = (int(np.iinfo(dtype).max) + 1 for dtype in (self.a_dtype, self.b_dtype))
        return a * abs(self.a_multiplier) + b * abs(self.b_multiplier) + abs(self.offset)

    @property
    def fits_word(self) -> bool:
        """Whether shifted sums are words with room for a zero point."""
        return self.reach >> self.shift < 2**30

    def reference(self, *arrays: Array) -> Array:
        a, b = self.broadcast(*arrays)
        total = a * self.a_multiplier + b * self.b_multiplier + self.offset
        return self.output.store(total >> self.shift)


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
    yield from wide_cases()


def wide_cases() -> Iterable[Add]:
    def add(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], **changes: Any) -> Add:
        scaled: dict[str, Any] = {"a_multiplier": 700_000_001, "b_multiplier": -523_456_789, "shift": 30}
        scaled |= {"output": Output(-7, -(2**15), 2**15 - 1, "int16"), "offset": 2**29 + 128 * 700_000_001}
        scaled |= {"a_dtype": "int16", "b_dtype": "int16"}
        return Add(shape, a, b, **(scaled | changes))

    steps = Output(0, -(448 << 12), 448 << 12, "int32")
    yield add((1,), (1,), (1,))
    yield add((2, 5, 3, 7), (2, 5, 3, 7), (2, 5, 3, 7))
    yield add((2, 4, 3, 5), (2, 4, 3, 5), (5,), output=steps, b_dtype="int8")
    yield add((2, 3, 4, 5), (3, 1, 5), (2, 1, 4, 1), a_dtype="int32", b_dtype="int32", output=steps)
    yield add((3, 4), (3, 4), (), shift=40, a_dtype="int8", output=Output(3, -50, 60))
    yield add((3, 4), (3, 4), (3, 4), a_multiplier=1, b_multiplier=-1, offset=0, shift=0)
