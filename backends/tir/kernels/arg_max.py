"""ArgMax and ArgMin over one axis: the place of the largest or the smallest integer, as ONNX's int64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir.kernels.copy import random_values


@dataclass(frozen=True)
class ArgMax(Kernel):
    """x: dtype [outer, n, inner]; y: int64 [outer, inner]. Of equal ones the first is taken, or the last."""

    outer: int
    n: int
    inner: int
    largest: bool
    last: bool
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        x = activation("x", (self.outer, self.n, self.inner), self.dtype)
        return x, output("y", (self.outer, self.inner), "int64")

    def reference(self, *arrays: Array) -> Array:
        x = arrays[0][:, ::-1] if self.last else arrays[0]
        found: Array = (x.argmax(axis=1) if self.largest else x.argmin(axis=1)).astype(np.int64)
        return self.n - 1 - found if self.last else found

    def build(self, name: str) -> Any:
        outer, n, inner, dtype, largest, last = self.outer, self.n, self.inner, self.dtype, self.largest, self.last

        def wins(value: Any, best: Any) -> Any:
            if last:
                return value >= best if largest else value <= best
            return value > best if largest else value < best

        @T.prim_func(s_tir=True)
        def arg_max(X: T.Buffer((outer, n, inner), dtype), Y: T.Buffer((outer, inner), "int64")):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            B = T.sblock_alloc_buffer((2,), "int32")  # the best so far, and its place
            for i, j in T.grid(outer, inner):
                B[0] = T.cast(X[i, 0, j], "int32")
                B[1] = 0
                for r in T.serial(n - 1):
                    if wins(T.cast(X[i, r + 1, j], "int32"), B[0]):
                        B[0] = T.cast(X[i, r + 1, j], "int32")
                        B[1] = r + 1
                Y[i, j] = T.cast(B[1], "int64")

        return arg_max

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, self.operands()[0].shape, self.dtype)
        return (np.where(rng.random(x.shape) < 0.5, x.flat[0], x),)  # many are equal


def cases() -> Iterable[ArgMax]:
    for largest in (True, False):
        for last in (True, False):
            yield ArgMax(3, 10, 1, largest, last)
            yield ArgMax(2, 4, 5, largest, last, "int16")
    yield ArgMax(1, 1, 1, True, False)
    yield ArgMax(2, 7, 1, True, True, "int32")
