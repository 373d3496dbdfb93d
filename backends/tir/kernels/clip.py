"""Clamping without a change of scale: y = min(max(x, low), high)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir.kernels.copy import random_values


@dataclass(frozen=True)
class Clip(Kernel):
    """x: dtype [size]; y: dtype [size]; low <= high, both values of dtype."""

    size: int
    low: int
    high: int
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), self.dtype), output("y", (self.size,), self.dtype)

    @property
    def in_place(self) -> bool:
        return True

    def reference(self, *arrays: Array) -> Array:
        (x,) = arrays
        result: Array = np.clip(x, self.low, self.high)
        return result

    def build(self, name: str) -> Any:
        low, high = tirx.const(self.low, self.dtype), tirx.const(self.high, self.dtype)
        x = te.placeholder((self.size,), self.dtype, "x")
        y = te.compute((self.size,), lambda i: te.max(te.min(x[i], high), low), "y")
        return te.create_prim_func([x, y]).with_attr("global_symbol", name)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, (self.size,), self.dtype),)


def cases() -> Iterable[Clip]:
    yield Clip(1, low=0, high=0)
    yield Clip(77, low=-128, high=127)
    yield Clip(77, low=-128, high=-128)
    yield Clip(33, low=-3, high=100)
    yield Clip(258, low=127, high=127)
    yield Clip(35, low=-2048, high=2047, dtype="int16")
    yield Clip(35, low=0, high=229376, dtype="int32")
