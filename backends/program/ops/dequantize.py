"""DequantizeLinear to float32: y = (x - zero_point) * scale, one multiplication of an exact integer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, element_by_element
from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, output
from bevel.backends.program.ops.quantize import check_scale


@dataclass(frozen=True)
class Dequantize(Op):
    """x: dtype [size], integers; y: float32 [size]. scale is a float32 value, zero_point a dtype value.

    int32 is for the steps of formats, which stay below 2**24: float32 holds them exactly.
    """

    size: int
    scale: float
    zero_point: int
    dtype: str = "int8"

    def __post_init__(self) -> None:
        check_scale(self.scale)

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), self.dtype), output("y", (self.size,), "float32")

    def reference(self, *arrays: Array) -> Array:
        difference = arrays[0].astype(np.int32) - self.zero_point
        with np.errstate(over="ignore", under="ignore"):
            result: Array = difference.astype(np.float32) * np.float32(self.scale)
        return result

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, (self.size,), self.dtype),)


def cases() -> Iterable[Dequantize]:
    for scale in (0.1, 1 / 3, 2.0**-7, 7.3e-5, 1e36, 1e37, 1.5e-38, 1e-44):
        yield Dequantize(700, float(np.float32(scale)), zero_point=-128)
    yield Dequantize(700, float(np.float32(0.1)), zero_point=127)
    yield Dequantize(701, float(np.float32(0.0235294122)), zero_point=255, dtype="uint8")
    yield Dequantize(1, 1.0, zero_point=0, dtype="uint8")
    yield Dequantize(700, float(np.float32(7.3e-5)), zero_point=-32768, dtype="int16")
    yield Dequantize(700, float(np.float32(7.3e-5)), zero_point=0, dtype="int32")
