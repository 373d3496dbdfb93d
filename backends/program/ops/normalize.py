"""Normalization of rows (`bevel.calib.arithmetic.normalize`), with a factor and an offset for each channel, in any
layout.

    y = store((((t * factor) >> 32) + offset) >> (shift - 32))

A row's elements are reached by the strides of `columns`, rows by those of `rows`: channels last or first are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, stored
from bevel.calib.arithmetic.normalize import WORD_BITS, fraction_bits, normalize
from bevel.calib.arithmetic.requantize import Output


class Loop(NamedTuple):
    """`extent` steps of x's elements `stride` apart, and of factors `gain` apart."""

    extent: int
    stride: int
    gain: int


@dataclass(frozen=True)
class Normalize(Op):
    """x: x_dtype [size]; factor: int32 [gains]; offset: int32 [gains]; y: output.dtype [size], each where it was.

    shift is at least 33; the offset holds its half. |t * factor / 2**32 + offset| stays below 2**30, t being at most
    sqrt(n) * 2**fraction, and n steps below 2**30.
    """

    rows: tuple[Loop, ...]
    columns: tuple[Loop, ...]
    gains: int
    center: bool
    zero_point: int
    epsilon: int
    shift: int
    output: Output
    x_dtype: str = "int8"

    @property
    def n(self) -> int:
        return prod(loop.extent for loop in self.columns)

    @property
    def size(self) -> int:
        return self.n * prod(loop.extent for loop in self.rows)

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.size,), self.x_dtype),
            constant("factor", (self.gains,), "int32"),
            constant("offset", (self.gains,), "int32"),
            stored("y", (self.size,), self.output),
        )

    def places(self, field: str) -> Array:
        """Of each element [rows, n], where x has it, or which factor it has."""
        ends = [np.zeros(1, np.int64), np.zeros(1, np.int64)]
        for which, loops in enumerate((self.rows, self.columns)):
            for loop in loops:
                ends[which] = (ends[which][:, None] + getattr(loop, field) * np.arange(loop.extent)).ravel()
        return ends[0][:, None] + ends[1]

    def reference(self, *arrays: Array) -> Array:
        x, factor, offset = arrays
        places, gains = self.places("stride"), self.places("gain")
        t = normalize(x[places].astype(np.int64) - self.zero_point, self.center, self.epsilon, fraction_bits(self.n))
        y = np.zeros(self.size, self.output.dtype)
        upper = (t * factor.astype(np.int64)[gains]) >> WORD_BITS
        y[places] = self.output.store((upper + offset[gains]) >> (self.shift - WORD_BITS))
        return y

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, (self.size,), self.x_dtype)
        x[self.places("stride")[-1]] = self.zero_point  # a row without deviation
        factor = rng.integers(-(2**30), 2**30, self.gains, dtype=np.int32)
        return x, factor, rng.integers(-(2**28), 2**28, self.gains, dtype=np.int32)


def cases() -> Iterable[Normalize]:
    """Rows of the last axis; of images, channels last; of groups of channels, channels first."""
    int16 = Output(-9, -(2**15), 2**15 - 1, "int16")
    yield Normalize((), (Loop(1, 1, 0),), 1, True, 0, 0, 50, Output())
    yield Normalize((Loop(3, 7, 0),), (Loop(7, 1, 1),), 7, True, -5, 900, 51, Output(4, -100, 90))
    yield Normalize((Loop(2, 60, 0), Loop(5, 1, 1)), (Loop(12, 5, 0),), 5, True, 127, 12, 50, Output())
    yield Normalize((Loop(2, 36, 0), Loop(3, 12, 2)), (Loop(2, 6, 1), Loop(6, 1, 0)), 6, True, 3, 1, 49, Output())
    yield Normalize((Loop(4, 9, 0),), (Loop(9, 1, 0),), 1, False, -128, 0, 52, Output(), "int8")
    yield Normalize((Loop(4, 33, 0),), (Loop(33, 1, 1),), 33, True, 77, 5, 43, int16, "int16")
    yield Normalize((Loop(4, 33, 0),), (Loop(33, 1, 1),), 33, False, 0, 5, 51, int16, "int16")
