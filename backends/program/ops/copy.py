"""Moving values unchanged (Copy), and between uint8 and int8 (ConvertSign): q - 128 is q with its top bit flipped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, element_by_element
from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, joined, output


@dataclass(frozen=True)
class Copy(Op):
    """x: dtype [size]; y: the same values."""

    size: int
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), self.dtype), output("y", (self.size,), self.dtype)

    def reference(self, *arrays: Array) -> Array:
        return arrays[0].copy()

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        return joined(inputs)

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, (self.size,), self.dtype),)


@dataclass(frozen=True)
class ConvertSign(Op):
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

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, (self.size,), self.source),)


def cases() -> Iterable[Op]:
    yield Copy(1)
    yield Copy(131)
    yield Copy(19, "float32")
    yield Copy(5, "int32")
    yield ConvertSign(1, "uint8")
    yield ConvertSign(259, "uint8")
    yield ConvertSign(259, "int8")
