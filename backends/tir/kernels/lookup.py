"""Rows of a constant table, by indices that are computed or given: y[i] = table[indices[i]]."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, constant, output
from bevel.backends.tir.kernels.copy import random_values


@dataclass(frozen=True)
class Lookup(Kernel):
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

    def build(self, name: str) -> Any:
        count, rows, width, dtype, index_dtype = self.count, self.rows, self.width, self.dtype, self.index_dtype
        zero, size, last = T.int64(0), T.int64(rows), T.int64(rows - 1)

        @T.prim_func(s_tir=True)
        def lookup(
            N: T.Buffer((count,), index_dtype),
            W: T.Buffer((rows, width), dtype),
            Y: T.Buffer((count, width), dtype),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            R = T.sblock_alloc_buffer((1,), "int32")
            for i in T.serial(count):
                given = T.meta_var(T.cast(N[i], "int64"))
                counted = T.meta_var(T.Select(given < zero, given + size, given))
                R[0] = T.cast(T.max(T.min(counted, last), zero), "int32")
                for j in T.serial(width):
                    Y[i, j] = W[R[0], j]

        return lookup

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        indices = rng.integers(-self.rows - 2, self.rows + 2, self.count, dtype=self.index_dtype)
        return indices, random_values(rng, (self.rows, self.width), self.dtype)


def cases() -> Iterable[Lookup]:
    yield Lookup(1, 1, 1)
    yield Lookup(9, 5, 7)
    yield Lookup(30, 5, 4, "int16", "int32")
