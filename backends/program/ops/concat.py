"""Concat of tensors that already share one scale: each input's slab is copied to its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, joined, output


@dataclass(frozen=True)
class Concat(Op):
    """x0, x1, ...: `shapes`, equal but for `axis` (counted from 0); y: their concatenation along it."""

    axis: int
    shapes: tuple[tuple[int, ...], ...]
    dtype: str = "int8"

    @property
    def shape(self) -> tuple[int, ...]:
        length = sum(shape[self.axis] for shape in self.shapes)
        first = self.shapes[0]
        return (*first[: self.axis], length, *first[self.axis + 1 :])

    def operands(self) -> tuple[Operand, ...]:
        inputs = (activation(f"x{number}", shape, self.dtype) for number, shape in enumerate(self.shapes))
        return *inputs, output("y", self.shape, self.dtype)

    def reference(self, *arrays: Array) -> Array:
        return np.concatenate(arrays, axis=self.axis)

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        return joined(inputs)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return tuple(random_values(rng, shape, self.dtype) for shape in self.shapes)


def cases() -> Iterable[Concat]:
    yield Concat(axis=0, shapes=((3,),))
    yield Concat(axis=3, shapes=((2, 3, 5, 1), (2, 3, 5, 3)))
    yield Concat(axis=1, shapes=((2, 1, 3), (2, 4, 3), (2, 2, 3)))
    yield Concat(axis=0, shapes=((1, 7), (2, 7)), dtype="float32")
    yield Concat(axis=2, shapes=((1, 1, 1), (1, 1, 1)), dtype="uint8")
