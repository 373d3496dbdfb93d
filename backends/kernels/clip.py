"""Clamping without a change of scale: y = min(max(x, low), high)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from bevel.backends.kernel import Array, Kernel, Operand, activation, output


@dataclass(frozen=True)
class Clip(Kernel):
    """x: int8 [size]; y: int8 [size]; low <= high, both int8 values."""

    size: int
    low: int
    high: int

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,)), output("y", (self.size,))

    @property
    def in_place(self) -> bool:
        return True

    def reference(self, *arrays: Array) -> Array:
        (x,) = arrays
        result: Array = np.clip(x, np.int8(self.low), np.int8(self.high))
        return result

    def build(self, name: str) -> Any:
        low, high = tirx.const(self.low, "int8"), tirx.const(self.high, "int8")
        x = te.placeholder((self.size,), "int8", "x")
        y = te.compute((self.size,), lambda i: te.max(te.min(x[i], high), low), "y")
        return te.create_prim_func([x, y]).with_attr("global_symbol", name)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = rng.integers(-128, 128, self.size, dtype=np.int8)
        x[0], x[-1] = -128, 127
        return (x,)


def cases() -> Iterable[Clip]:
    yield Clip(1, low=0, high=0)
    yield Clip(77, low=-128, high=127)
    yield Clip(77, low=-128, high=-128)
    yield Clip(33, low=-3, high=100)
    yield Clip(258, low=127, high=127)
