"""A function of one 8-bit value for each channel, looked up: y = table[channel][x]; such as a mean and a deviation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, output

ENTRIES = 256


@dataclass(frozen=True)
class ChannelTable(Op):
    """x: `source` [outer, channels, inner], uint8 or int8; table: dtype [channels, 256], of the values in ascending
    order; y: dtype, of x's shape."""

    outer: int
    channels: int
    inner: int
    source: str = "uint8"
    dtype: str = "int8"

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.outer, self.channels, self.inner

    @property
    def first(self) -> int:
        """The value of the first entry."""
        return int(np.iinfo(self.source).min)

    def operands(self) -> tuple[Operand, ...]:
        table = constant("table", (self.channels, ENTRIES), self.dtype)
        return activation("x", self.shape, self.source), table, output("y", self.shape, self.dtype)

    @property
    def in_place(self) -> bool:
        return self.dtype == "int8"

    def reference(self, *arrays: Array) -> Array:
        x, table = arrays
        result: Array = table[np.arange(self.channels)[:, np.newaxis], x.astype(np.int32) - self.first]
        return result

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return random_values(rng, self.shape, self.source), random_values(rng, (self.channels, ENTRIES), self.dtype)


def cases() -> Iterable[ChannelTable]:
    for source in ("uint8", "int8"):
        yield ChannelTable(1, 1, 1, source)
        yield ChannelTable(1, 1, 263, source)
        yield ChannelTable(119, 3, 1, source)
        yield ChannelTable(2, 3, 37, source)
    yield ChannelTable(2, 3, 17, dtype="int16")
