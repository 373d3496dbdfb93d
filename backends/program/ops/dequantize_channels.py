"""DequantizeLinear along an axis: y[o, c, i] = (x[o, c, i] - zero_point[c]) * scale[c], one float32 multiplication."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, output


@dataclass(frozen=True)
class DequantizeChannels(Op):
    """x: dtype [outer, channels, inner], integers; scale: float32 [channels]; zero_point: int32 [channels]; y: float32
    like x."""

    outer: int
    channels: int
    inner: int
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.outer, self.channels, self.inner)
        return (
            activation("x", shape, self.dtype),
            constant("scale", (self.channels,), "float32"),
            constant("zero_point", (self.channels,), "int32"),
            output("y", shape, "float32"),
        )

    def reference(self, *arrays: Array) -> Array:
        x, scale, zero_point = arrays
        difference = x.astype(np.int32) - zero_point[:, np.newaxis]
        result: Array = difference.astype(np.float32) * scale[:, np.newaxis]
        return result

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, (self.outer, self.channels, self.inner), self.dtype)
        limits = np.iinfo(self.dtype)
        zero_point = rng.integers(limits.min, limits.max, self.channels, np.int32, endpoint=True)
        scale = (10.0 ** rng.uniform(-8, 8, self.channels)).astype(np.float32)
        return x, scale, zero_point


def cases() -> Iterable[DequantizeChannels]:
    yield DequantizeChannels(1, 8, 576)
    yield DequantizeChannels(50, 15, 1)
    yield DequantizeChannels(2, 3, 7, dtype="int16")
    yield DequantizeChannels(1, 1, 1)
