"""ReduceMax and ReduceMin over neighbouring axes: the largest or the smallest integer, whatever its scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, joined, output


@dataclass(frozen=True)
class ReduceExtreme(Op):
    """x: dtype [outer, reduced, inner]; y: dtype [outer, inner], the largest of each column or the smallest."""

    outer: int
    reduced: int
    inner: int
    largest: bool
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        x = activation("x", (self.outer, self.reduced, self.inner), self.dtype)
        return x, output("y", (self.outer, self.inner), self.dtype)

    def reference(self, *arrays: Array) -> Array:
        result: Array = arrays[0].max(axis=1) if self.largest else arrays[0].min(axis=1)
        return result

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        return joined(inputs)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, self.operands()[0].shape, self.dtype),)


def cases() -> Iterable[ReduceExtreme]:
    yield ReduceExtreme(1, 1, 1, True)
    yield ReduceExtreme(3, 10, 1, True)
    yield ReduceExtreme(2, 9, 7, False)
    yield ReduceExtreme(1, 32, 8, True, "int16")
    yield ReduceExtreme(2, 5, 6, False, "int32")
