"""Transpose: axis k of y is axis perm[k] of x."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, joined, output


@dataclass(frozen=True)
class Transpose(Op):
    """x: dtype `shape`; y: dtype, shape[perm[0]] x shape[perm[1]] x ..."""

    shape: tuple[int, ...]
    perm: tuple[int, ...]
    dtype: str = "int8"

    @property
    def permuted(self) -> tuple[int, ...]:
        return tuple(self.shape[axis] for axis in self.perm)

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", self.shape, self.dtype), output("y", self.permuted, self.dtype)

    def reference(self, *arrays: Array) -> Array:
        return np.ascontiguousarray(arrays[0].transpose(self.perm))

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        return joined(inputs)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, self.shape, self.dtype),)


def cases() -> Iterable[Transpose]:
    yield Transpose(shape=(5,), perm=(0,))
    yield Transpose(shape=(3, 4), perm=(1, 0))
    yield Transpose(shape=(2, 3, 5, 4), perm=(0, 3, 1, 2))
    yield Transpose(shape=(2, 4, 3, 5), perm=(0, 2, 3, 1), dtype="float32")
    yield Transpose(shape=(2, 3, 4, 5, 2), perm=(4, 2, 0, 3, 1), dtype="uint8")
