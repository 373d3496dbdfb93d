"""Rows of a constant table, by indices that are computed or given: y[i] = table[indices[i]]."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, output


@dataclass(frozen=True)
class Lookup(Op):
    """indices: index_dtype [count]; table: dtype [rows, width]; y: dtype [count, width].

    Negative indices count from the end. Those outside, for which ONNX has no result, read the first or the last row.
    """

    count: int
    rows: int
    width: int
    dtype: str = "int8"
    index_dtype: str = "int64"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("indices", (self.count,), self.index_dtype),
            constant("table", (self.rows, self.width), self.dtype),
            output("y", (self.count, self.width), self.dtype),
        )

    def reference(self, *arrays: Array) -> Array:
        indices, table = arrays
        wide = indices.astype(np.int64)
        result: Array = table[np.clip(np.where(wide < 0, wide + self.rows, wide), 0, self.rows - 1)]
        return result

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        indices = rng.integers(-self.rows - 2, self.rows + 2, self.count, dtype=self.index_dtype)
        return indices, random_values(rng, (self.rows, self.width), self.dtype)


def cases() -> Iterable[Lookup]:
    yield Lookup(1, 1, 1)
    yield Lookup(9, 5, 7)
    yield Lookup(30, 5, 4, "int16", "int32")
