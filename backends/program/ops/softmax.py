"""Softmax over the last axis in integers, with a table for the exponential.

For each row: d = max(x) - x;  e = table[d];  s = sum(e);  y = store((256 * e + s // 2) // s).

The output's scale is 1/256, so 256 * e / s is already in output steps, and the added half of s rounds it. Subtracting
the row's maximum keeps every exponent in [0, 255], which is why one table is enough: Kim et al. 2021, "I-BERT:
Integer-only BERT Quantization", section 3.5, with a table where theirs has a polynomial. Where codes or shares are
int16, the exponential is a product of two tables (`bevel.calib.arithmetic.softmax`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, stored
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE, exponent_bits, shares, tables

ENTRIES = 256


@dataclass(frozen=True)
class Softmax(Op):
    """x: int8 [rows, n]; table: int32 [256], entry d the integer exponential of -d input steps; y: int8 [rows, n].

    The table is not negative, does not rise, and starts with a positive entry t such that n * t < 2**32 and
    256 * t + n * t // 2 < 2**32: then nothing overflows a uint32; `largest_entry` is the largest such t.
    """

    rows: int
    n: int
    output: Output

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.rows, self.n)
        return activation("x", shape), constant("table", (ENTRIES,), "int32"), stored("y", shape, self.output)

    def reference(self, *arrays: Array) -> Array:
        x, table = arrays
        wide = x.astype(np.int64)
        exponential = table.astype(np.int64)[wide.max(axis=1, keepdims=True) - wide]
        total = exponential.sum(axis=1, keepdims=True)
        return self.output.store((exponential * 256 + total // 2) // total)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = rng.integers(-128, 128, (self.rows, self.n), dtype=np.int8)
        x.flat[0], x.flat[-1] = -128, 127
        if self.rows > 1:
            x[-1] = 127  # the largest sum there is
        table = np.floor(largest_entry(self.n) * np.exp(-np.arange(ENTRIES) * rng.uniform(0.02, 0.2)))
        return x, table.astype(np.int32)


def largest_entry(n: int) -> int:
    """The largest first table entry t that rows of n leave room for: n * t and 256 * t + n * t // 2 below 2**32."""
    return min((2**32 - 1) // n, (2**33 - 1) // (512 + n))


@dataclass(frozen=True)
class WideSoftmax(Op):
    """x: x_dtype [rows, n]; coarse: int32 [distances / 256]; fine: int32 [256]; y: output.dtype [rows, n].

    The first entries of both tables are 2**30, the others not larger and not negative. n * 2**exponent < 2**31.
    """

    rows: int
    n: int
    coarse: int
    exponent: int
    bits: int
    output: Output
    x_dtype: str = "int16"

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.rows, self.n)
        return (
            activation("x", shape, self.x_dtype),
            constant("coarse", (self.coarse,), "int32"),
            constant("fine", (FINE,), "int32"),
            stored("y", shape, self.output),
        )

    def reference(self, *arrays: Array) -> Array:
        x, coarse, fine = arrays
        return self.output.store(shares(x, coarse, fine, self.exponent, self.bits))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, (self.rows, self.n), self.x_dtype)
        if self.rows > 1:
            x[-1] = x.flat[-1]  # the largest sum there is
            x[0] = rng.integers(-100, 100, self.n)  # codes near each other share between them
        return x, *tables(float(rng.uniform(1e-4, 0.05)), self.coarse * FINE)


def cases() -> Iterable[Softmax | WideSoftmax]:
    for rows, n in ((1, 1), (2, 3), (3, 10), (2, 1001), (1, 65)):
        yield Softmax(rows, n, Output(-128))
    yield Softmax(2, 4, Output(0, low=0, high=100))
    int16 = Output(-(2**15), -(2**15), 2**15 - 1, "int16")
    for rows, n in ((1, 1), (2, 3), (3, 10), (2, 1001)):
        yield WideSoftmax(rows, n, FINE, exponent_bits(n), 16, int16)
    yield WideSoftmax(2, 17, FINE, exponent_bits(17), 8, Output(-128))
    yield WideSoftmax(3, 17, 1, exponent_bits(17), 16, int16, "int8")
    yield WideSoftmax(2, 4, FINE, exponent_bits(4), 12, Output(-2048, -2048, 1000, "int16"))
