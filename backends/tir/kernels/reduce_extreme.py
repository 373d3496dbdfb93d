"""ReduceMax and ReduceMin over neighbouring axes: the largest or the smallest integer, whatever its scale."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir.kernels.copy import random_values
from bevel.backends.tir.loops import register_tile


@dataclass(frozen=True)
class ReduceExtreme(Kernel):
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

    def build(self, name: str) -> Any:
        outer, reduced, inner, dtype = self.outer, self.reduced, self.inner, self.dtype
        tile, better = register_tile(inner), T.max if self.largest else T.min

        @T.prim_func(s_tir=True)
        def reduce_extreme(X: T.Buffer((outer, reduced, inner), dtype), Y: T.Buffer((outer, inner), dtype)):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for i, block in T.grid(outer, inner // tile):
                A = T.alloc_buffer((tile,), "int32")
                for u in T.unroll(tile):
                    A[u] = T.cast(X[i, 0, block * tile + u], "int32")
                for r in T.serial(reduced - 1):
                    for u in T.unroll(tile):
                        A[u] = better(A[u], T.cast(X[i, r + 1, block * tile + u], "int32"))
                for u in T.unroll(tile):
                    Y[i, block * tile + u] = T.cast(A[u], dtype)

        return reduce_extreme

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, self.operands()[0].shape, self.dtype),)


def cases() -> Iterable[ReduceExtreme]:
    yield ReduceExtreme(1, 1, 1, True)
    yield ReduceExtreme(3, 10, 1, True)
    yield ReduceExtreme(2, 9, 7, False)
    yield ReduceExtreme(1, 32, 8, True, "int16")
    yield ReduceExtreme(2, 5, 6, False, "int32")
