"""Softmax over the last axis in integers, with a table for the exponential.

For each row: d = max(x) - x;  e = table[d];  s = sum(e);  y = store((256 * e + s // 2) // s).

The output's scale is 1/256, so 256 * e / s is already in output steps, and the added half of s rounds it. Subtracting
the row's maximum keeps every exponent in [0, 255], which is why one table is enough: Kim et al. 2021, "I-BERT:
Integer-only BERT Quantization", section 3.5, with a table where theirs has a polynomial. Where codes or shares are
int16, the exponential is a product of two tables (`bevel.calib.arithmetic.softmax`).

A mask (`Mask`) bars elements: they are not looked at, and their shares are 0. Where the elements that a row keeps are
its first, as a causal mask and padding behind a text have it, one number a row says how many, and loops end there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, stored
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE, LONGEST, distances, shares, tables

ENTRIES = 256


@dataclass(frozen=True)
class Mask:
    """Which elements of rows [*shape, n] are kept; it is [*mask_shape, n], and broadcasts to them.

    prefix: whether it is given as how many of each row's first are kept, int32 [*mask_shape], 1 at least; else as truth
    values. Either comes in, or is constant. inverted: whether what is true is barred.
    """

    shape: tuple[int, ...]
    mask_shape: tuple[int, ...]
    n: int
    prefix: bool = False
    constant: bool = True
    inverted: bool = False

    def operand(self) -> Operand:
        size = prod(self.mask_shape)
        make = constant if self.constant else activation
        return make("kept", (size,), "int32") if self.prefix else make("keep", (size * self.n,), "bool")

    def of_rows(self, given: Array) -> NDArray[np.bool_]:
        """What the operand says of each element: [rows, n]."""
        lasts = np.arange(self.n) < given.reshape(*self.mask_shape, 1) if self.prefix else given
        whole = np.broadcast_to(lasts.reshape(*self.mask_shape, self.n), (*self.shape, self.n))
        result: NDArray[np.bool_] = whole.reshape(-1, self.n).astype(np.bool_) ^ self.inverted
        return result

    def example(self, rng: np.random.Generator) -> Array:
        """One row at least that keeps the first alone, and one that keeps all; of truth values one that keeps none."""
        size = prod(self.mask_shape)
        if self.prefix:
            kept = rng.integers(1, self.n + 1, size, dtype=np.int32)
            kept[:2] = (1, self.n)[:size]
            return kept
        keep = rng.random((size, self.n)) < 0.6
        keep[-1] = not self.constant
        keep[0] = np.arange(self.n) == self.n // 2
        keep[size // 2] = self.constant
        return keep.reshape(-1) ^ self.inverted

    def operands(self) -> tuple[tuple[Operand, ...], tuple[Operand, ...]]:
        """What comes in, and what is constant."""
        return ((), (self.operand(),)) if self.constant else ((self.operand(),), ())


def counts(mask: Mask | None) -> bool:
    """Whether how many elements a row keeps comes in: not any integer, then."""
    return mask is not None and mask.prefix and not mask.constant


def masked(mask: Mask | None, arrays: tuple[Array, ...]) -> tuple[tuple[Array, ...], NDArray[np.bool_] | None]:
    """The arrays of an operator, x and the mask first, without the mask, and which elements it keeps."""
    if mask is None:
        return arrays, None
    x, given, *tables = arrays
    return (x, *tables), mask.of_rows(given)


def row_operands(
    shape: tuple[int, int], x_dtype: str, mask: Mask | None, tables: tuple[Operand, ...], y: Operand
) -> tuple[Operand, ...]:
    """What a Softmax of rows reads and makes: codes, a mask that comes in, one that is constant, tables, shares."""
    given, kept = ((), ()) if mask is None else mask.operands()
    return activation("x", shape, x_dtype), *given, *kept, *tables, y


def two_tables(coarse: int) -> tuple[Operand, Operand]:
    """Of the exponential (`bevel.calib.arithmetic.softmax.tables`)."""
    return constant("coarse", (coarse,), "uint16"), constant("fine", (FINE,), "uint16")


@dataclass(frozen=True)
class Softmax(Op):
    """x: int8 [rows, n]; table: int32 [256], entry d the integer exponential of -d input steps; y: int8 [rows, n].

    The table is not negative, does not rise, and starts with a positive entry t such that n * t < 2**32 and
    256 * t + n * t // 2 < 2**32: then nothing overflows a uint32; `largest_entry` is the largest such t. The mask, if
    there is one, comes behind x.
    """

    rows: int
    n: int
    output: Output
    mask: Mask | None = None

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.rows, self.n)
        tables = (constant("table", (ENTRIES,), "int32"),)
        return row_operands(shape, "int8", self.mask, tables, stored("y", shape, self.output))

    @property
    def in_place(self) -> bool:
        return True

    @property
    def any_codes(self) -> bool:
        return not counts(self.mask)

    @property
    def nothing(self) -> int:
        """The code of a share of 0."""
        return int(self.output.store(np.array(0)))

    def reference(self, *arrays: Array) -> Array:
        (x, table), keep = masked(self.mask, arrays)
        exponential = table.astype(np.int64)[distances(x, keep)]
        exponential = exponential if keep is None else np.where(keep, exponential, 0)
        total = np.maximum(exponential.sum(axis=1, keepdims=True), 1)
        return self.output.store((exponential * 256 + total // 2) // total)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = rng.integers(-128, 128, (self.rows, self.n), dtype=np.int8)
        x.flat[0], x.flat[-1] = -128, 127
        if self.rows > 1:
            x[-1] = 127  # the largest sum there is
        table = np.floor(largest_entry(self.n) * np.exp(-np.arange(ENTRIES) * rng.uniform(0.02, 0.2)))
        return x, *(() if self.mask is None else (self.mask.example(rng),)), table.astype(np.int32)


def largest_entry(n: int) -> int:
    """The largest first table entry t that rows of n leave room for: n * t and 256 * t + n * t // 2 below 2**32."""
    return min((2**32 - 1) // n, (2**33 - 1) // (512 + n))


@dataclass(frozen=True)
class WideSoftmax(Op):
    """x: x_dtype [rows, n]; coarse: uint16 [distances / 256]; fine: uint16 [256]; y: output.dtype [rows, n].

    A row's exponentials have an int32 sum where none can reach 2**31, else int64; n is below 2**31. The mask, if there
    is one, comes behind x.
    """

    rows: int
    n: int
    coarse: int
    bits: int
    output: Output
    x_dtype: str = "int16"
    mask: Mask | None = None

    @property
    def sum_dtype(self) -> str:
        return "int32" if self.n <= LONGEST else "int64"

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.rows, self.n)
        made = stored("y", shape, self.output)
        return row_operands(shape, self.x_dtype, self.mask, two_tables(self.coarse), made)

    @property
    def in_place(self) -> bool:
        return self.x_dtype == self.output.dtype

    @property
    def any_codes(self) -> bool:
        return not counts(self.mask)

    @property
    def nothing(self) -> int:
        """The code of a share of 0."""
        return int(self.output.store(np.array(0)))

    def reference(self, *arrays: Array) -> Array:
        (x, coarse, fine), keep = masked(self.mask, arrays)
        return self.output.store(shares(x, coarse, fine, self.bits, keep))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return row_example(rng, (self.rows, self.n), self.x_dtype, self.mask, self.coarse)


def row_example(
    rng: np.random.Generator, shape: tuple[int, int], x_dtype: str, mask: Mask | None, coarse: int
) -> tuple[Array, ...]:
    """The last row has the largest sum there is, as a single one that is longer than `LONGEST`; the first has codes
    near each other, which share between them."""
    x = random_values(rng, shape, x_dtype)
    if shape[0] > 1:
        x[-1] = x.flat[-1]
        x[0] = rng.integers(-100, 100, shape[1])
    elif shape[1] > LONGEST:
        x[:, 1:] = x[0, 0]
    given = () if mask is None else (mask.example(rng),)
    return x, *given, *tables(float(rng.uniform(1e-4, 0.05)), coarse * FINE)


def cases() -> Iterable[Softmax | WideSoftmax]:
    for rows, n in ((1, 1), (2, 3), (3, 10), (2, 1001), (1, 65)):
        yield Softmax(rows, n, Output(-128))
    yield Softmax(2, 4, Output(0, low=0, high=100))
    int16 = Output(-(2**15), -(2**15), 2**15 - 1, "int16")
    for rows, n in ((1, 1), (2, 3), (3, 10), (2, 1001)):
        yield WideSoftmax(rows, n, FINE, 16, int16)
    yield WideSoftmax(2, 17, FINE, 8, Output(-128))
    yield WideSoftmax(3, 17, 1, 16, int16, "int8")
    yield WideSoftmax(2, 4, FINE, 12, Output(-2048, -2048, 1000, "int16"))
    yield WideSoftmax(1, LONGEST + 2, 1, 8, Output(-128), "int8")
    for shape, mask_shape in (((2, 3, 5), (5,)), ((2, 3, 4), (2, 1, 1)), ((6,), (6,)), ((1,), (1,))):
        for mask in (Mask(shape, mask_shape, 7, prefix=True), Mask(shape, mask_shape, 7)):
            yield Softmax(prod(shape), 7, Output(-128), mask)
            yield WideSoftmax(prod(shape), 7, FINE, 16, int16, mask=mask)
    for n, counted in ((7, Mask((2, 3), (1, 1), 7, True, False)), (70, Mask((2, 3), (2, 1), 70, True, False))):
        yield Softmax(6, n, Output(-128), counted)
        yield WideSoftmax(6, n, FINE, 16, int16, mask=counted)
    coming, barred = (Mask((2, 3, 4), (2, 1, 4), 9, constant=False, inverted=one) for one in (False, True))
    yield Softmax(24, 9, Output(-128), coming)
    yield WideSoftmax(24, 9, 1, 8, Output(-128), "int8", coming)
    yield Softmax(24, 9, Output(-128), barred)
    yield WideSoftmax(24, 9, FINE, 16, int16, mask=barred)
