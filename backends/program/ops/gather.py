"""Gather by constant indices along some axes: y[i, j, ...] = x[indices0[i], j, ...].

Paddings that repeat pixels and resizing by picking pixels are gathers too: which elements they pick is decided where
the graph is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, constant, joined, output


@dataclass(frozen=True)
class Gather(Op):
    """x: dtype `shape`; for each axis with a count: int32 indices [count] within it; y: dtype, those counts long.

    An axis whose count is None is copied whole, in order.
    """

    shape: tuple[int, ...]
    counts: tuple[int | None, ...]
    dtype: str = "int8"

    @property
    def listed(self) -> tuple[int, ...]:
        """The axes that have indices."""
        return tuple(axis for axis, count in enumerate(self.counts) if count is not None)

    @property
    def gathered(self) -> tuple[int, ...]:
        counts = zip(self.shape, self.counts, strict=True)
        return tuple(size if count is None else count for size, count in counts)

    def operands(self) -> tuple[Operand, ...]:
        indices = (constant(f"indices{axis}", (self.gathered[axis],), "int32") for axis in self.listed)
        return activation("x", self.shape, self.dtype), *indices, output("y", self.gathered, self.dtype)

    def reference(self, *arrays: Array) -> Array:
        result, *indices = arrays
        for axis, picked in zip(self.listed, indices, strict=True):
            result = result.take(picked, axis=axis)
        return result

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        return joined(inputs)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        indices = [rng.integers(0, self.shape[axis], self.gathered[axis], dtype=np.int32) for axis in self.listed]
        for axis, picked in zip(self.listed, indices, strict=True):
            picked[0], picked[-1] = self.shape[axis] - 1, 0
        return random_values(rng, self.shape, self.dtype), *indices


def cases() -> Iterable[Gather]:
    yield Gather((5,), (9,))
    yield Gather((2, 5, 7, 3), (None, 4, None, None))
    yield Gather((2, 5, 7, 3), (None, 8, 10, None), "int16")
    yield Gather((3, 4), (1, 6), "int32")
    yield Gather((2, 3, 2, 4, 3), (None, 6, 4, 8, None))
