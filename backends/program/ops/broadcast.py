"""Repetition along axes: y[i, j, ...] = x[i or 0, j or 0, ...], as numpy broadcasts.

Tile is this too: an axis of n that stands r times is [r, n], broadcast from [1, n].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, joined, output


@dataclass(frozen=True)
class Broadcast(Op):
    """x: dtype `x_shape`; y: dtype `shape`, to which x broadcasts."""

    shape: tuple[int, ...]
    x_shape: tuple[int, ...]
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", self.x_shape, self.dtype), output("y", self.shape, self.dtype)

    def reference(self, *arrays: Array) -> Array:
        return np.ascontiguousarray(np.broadcast_to(arrays[0], self.shape))

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        return joined(inputs)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, self.x_shape, self.dtype),)


def cases() -> Iterable[Broadcast]:
    yield Broadcast((1,), (1,))
    yield Broadcast((7,), (1,))
    yield Broadcast((2, 5, 3, 4), (2, 1, 3, 1))
    yield Broadcast((3, 2, 2, 5), (1, 2, 1, 5), "int16")
    yield Broadcast((2, 3, 4), (3, 1), "int32")
