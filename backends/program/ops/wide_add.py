"""Add and Sub of tensors of which one may be int16 or int32: as `bevel.backends.program.ops.add`, in int64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bevel.backends.program.bands import Banding, Laid, Shape, broadcast
from bevel.backends.program.examples import example_of
from bevel.backends.program.op import Array, Op, Operand, activation, stored
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class WideAdd(Op):
    """a: a_dtype a_shape; b: b_dtype b_shape; y: output.dtype shape, to which both broadcast as in numpy.

    offset holds 2**(shift - 1) and both zero points' share. The multipliers fit int32, and the sum stays within int64.
    """

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_multiplier: int
    b_multiplier: int
    offset: int
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
        total = a * self.a_multiplier + b * self.b_multiplier + self.offset
        return self.output.store(total >> self.shift)

    def banding(self, laid: Laid) -> Banding | None:
        def cut(shape: Shape, a_shape: Shape, b_shape: Shape) -> Op:
            return replace(self, shape=shape, a_shape=a_shape, b_shape=b_shape)

        return broadcast(laid, (self.shape, self.a_shape, self.b_shape), cut)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        a, b, _ = self.operands()
        return example_of(rng, a), example_of(rng, b)


def cases() -> Iterable[WideAdd]:
    def add(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], **changes: Any) -> WideAdd:
        scaled: dict[str, Any] = {"a_multiplier": 700_000_001, "b_multiplier": -523_456_789, "shift": 30}
        scaled |= {"output": Output(-7, -(2**15), 2**15 - 1, "int16"), "offset": 2**29 + 128 * 700_000_001}
        return WideAdd(shape, a, b, **(scaled | changes))

    steps = Output(0, -(448 << 12), 448 << 12, "int32")
    yield add((1,), (1,), (1,))
    yield add((2, 5, 3, 7), (2, 5, 3, 7), (2, 5, 3, 7))
    yield add((2, 4, 3, 5), (2, 4, 3, 5), (5,), output=steps, b_dtype="int8")
    yield add((2, 3, 4, 5), (3, 1, 5), (2, 1, 4, 1), a_dtype="int32", b_dtype="int32", output=steps)
    yield add((3, 4), (3, 4), (), shift=40, a_dtype="int8", output=Output(3, -50, 60))
    yield add((3, 4), (3, 4), (3, 4), a_multiplier=1, b_multiplier=-1, offset=0, shift=0)
