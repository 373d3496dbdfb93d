"""Pad with a constant: x in the middle of y, the value around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, joined, output


@dataclass(frozen=True)
class Pad(Op):
    """x: dtype `shape`; y: dtype, each axis longer by its `pads_before` and `pads_after`, none of them negative."""

    shape: tuple[int, ...]
    pads_before: tuple[int, ...]
    pads_after: tuple[int, ...]
    value: int
    dtype: str = "int8"

    def __post_init__(self) -> None:
        if min((*self.pads_before, *self.pads_after), default=0) < 0:
            raise ValueError(f"a negative pad is a Slice: {self}")

    @property
    def padded(self) -> tuple[int, ...]:
        lengths = zip(self.pads_before, self.shape, self.pads_after, strict=True)
        return tuple(sum(parts) for parts in lengths)

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", self.shape, self.dtype), output("y", self.padded, self.dtype)

    def reference(self, *arrays: Array) -> Array:
        pads = list(zip(self.pads_before, self.pads_after, strict=True))
        return np.pad(arrays[0], pads, constant_values=self.value)

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        return joined((*inputs, (self.value, self.value)))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, self.shape, self.dtype),)


def cases() -> Iterable[Pad]:
    yield Pad(shape=(1,), pads_before=(0,), pads_after=(0,), value=5)
    yield Pad(shape=(3,), pads_before=(2,), pads_after=(0,), value=-128)
    yield Pad(shape=(2, 3, 5, 3), pads_before=(0, 1, 2, 0), pads_after=(0, 0, 3, 0), value=127)
    yield Pad(shape=(1, 2, 2), pads_before=(1, 0, 3), pads_after=(0, 2, 1), value=255, dtype="uint8")
    yield Pad(shape=(2, 2), pads_before=(0, 1), pads_after=(1, 0), value=-7, dtype="float32")
