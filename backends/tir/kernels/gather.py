"""Gather by constant indices along some axes: y[i, j, ...] = x[indices0[i], j, ...].

Paddings that repeat pixels and resizing by picking pixels are gathers too: which elements they pick is decided where
the graph is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, constant, output
from bevel.backends.tir.kernels.copy import random_values


@dataclass(frozen=True)
class Gather(Kernel):
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

    def build(self, name: str) -> Any:
        x, *indices, y = (te.placeholder(operand.shape, operand.dtype, operand.name) for operand in self.operands())
        lists = dict(zip(self.listed, indices, strict=True))

        def element(*position: Any) -> Any:
            return x[tuple(lists[axis][place] if axis in lists else place for axis, place in enumerate(position))]

        y = te.compute(self.gathered, element, "y")
        return te.create_prim_func([x, *indices, y]).with_attr("global_symbol", name)

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
