"""ArgMax and ArgMin over one axis: the place of the largest or the smallest integer, as ONNX's int64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, output


@dataclass(frozen=True)
class ArgMax(Op):
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
