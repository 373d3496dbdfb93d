"""Moving values unchanged (Copy), and between uint8 and int8 (ConvertSign): q - 128 is q with its top bit flipped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output


@dataclass(frozen=True)
class Copy(Kernel):
    """x: dtype [size]; y: the same values."""

    size: int
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), self.dtype), output("y", (self.size,), self.dtype)

    def reference(self, *arrays: Array) -> Array:
        return arrays[0].copy()

    def build(self, name: str) -> Any:
        x = te.placeholder((self.size,), self.dtype, "x")
        y = te.compute((self.size,), lambda i: x[i], "y")
        return te.create_prim_func([x, y]).with_attr("global_symbol", name)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, (self.size,), self.dtype),)


@dataclass(frozen=True)
class ConvertSign(Kernel):
    """x: `source` [size], "uint8" or "int8"; y: the other one. The zero point moves by 128 with the values."""

    size: int
    source: str

    @property
    def target(self) -> str:
        return {"uint8": "int8", "int8": "uint8"}[self.source]

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), self.source), output("y", (self.size,), self.target)

    @property
    def in_place(self) -> bool:
        return True

    def reference(self, *arrays: Array) -> Array:
        result: Array = (arrays[0].view(np.uint8) ^ np.uint8(0x80)).view(self.target)
        return result

    def build(self, name: str) -> Any:
        top_bit = tirx.const(0x80, "uint8")
        x = te.placeholder((self.size,), self.source, "x")
        y = te.compute((self.size,), lambda i: (x[i].astype("uint8") ^ top_bit).astype(self.target), "y")
        return te.create_prim_func([x, y]).with_attr("global_symbol", name)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, (self.size,), self.source),)


def random_values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Values over an integer dtype's whole range, its two ends included; standard normal ones for a float dtype."""
    if not np.issubdtype(dtype, np.integer):
        return np.asarray(rng.standard_normal(shape)).astype(dtype)
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    values.flat[0], values.flat[-1] = limits.min, limits.max
    return values


def cases() -> Iterable[Kernel]:
    yield Copy(1)
    yield Copy(131)
    yield Copy(19, "float32")
    yield Copy(5, "int32")
    yield ConvertSign(1, "uint8")
    yield ConvertSign(259, "uint8")
    yield ConvertSign(259, "int8")
