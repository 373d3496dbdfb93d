"""The two factors of a product of activations, as kernels read them: rows of one, columns of the other.

Where just one is int16 it is the one with rows: int8 columns then serve all of them. If it stands on the right, what is
computed is the transposed product, y' = b' a', which is the same numbers at other strides. Both may be int16 where the
sums are known to fit a word.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from bevel.backends.program.ops.mat_mul import INT32_LIMIT, MatMul, Strides, turned
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import offset_of
from bevel.calib.arithmetic.requantize import UPPER_WORD

STORED = ("int8", "int16")


class Side(NamedTuple):
    """Matrices of a batch: where they lie, in elements from the first."""

    strides: Strides  # of the batch, its rows, its columns

    def at(self, buffer: Any, batch: Any, row: Any = 0, column: Any = 0) -> Any:
        """TIR for the address of an element."""
        return T.address_of(buffer[self.place(batch, row, column)])

    def place(self, batch: Any, row: Any = 0, column: Any = 0) -> Any:
        """TIR for how many elements lie before it."""
        *lead, down, along = self.strides
        return offset_of(batch, tuple(lead)) + row * down + column * along

    @property
    def down(self) -> int:
        return self.strides[-2]

    @property
    def along(self) -> int:
        return self.strides[-1]


class Sides(NamedTuple):
    """rows [m, k], columns [k, n] and the result [m, n]; swapped: whether rows are b's."""

    swapped: bool
    extents: tuple[int, ...]  # of the batch, one at least
    m: int
    k: int
    n: int
    rows: Side
    columns: Side
    result: Side
    row_zero_point: int
    column_zero_point: int
    row_dtype: str
    column_dtype: str

    @property
    def packed(self) -> int:
        """Elements of columns, where they are laid anew, once for all rows: of one row that is most of the work."""
        return prod(self.extents) * self.k * self.n


def in_order(plain: MatMul) -> tuple[tuple[int, ...], Side, Side, Side]:
    """The extents of the batch, one at least, and where a, b and the result lie."""
    lead = () if plain.batch else (0,)
    a, b, y = (Side((*lead, *strides)) for strides in (plain.a_strides, plain.b_strides, plain.y_strides))
    return plain.batch or (1,), a, b, y


def sides_of(plain: MatMul, turn: bool = True) -> Sides:
    """turn: whether b's columns may be the rows."""
    swapped = turn and (plain.a_dtype, plain.b_dtype) == ("int8", "int16")
    extents, a, b, y = in_order(plain)
    if swapped:
        parts = Side(turned(b.strides)), Side(turned(a.strides)), Side(turned(y.strides))
        zero_points, dtypes = (plain.b_zero_point, plain.a_zero_point), (plain.b_dtype, plain.a_dtype)
        return Sides(True, extents, plain.n, plain.k, plain.m, *parts, *zero_points, *dtypes)
    zero_points, dtypes = (plain.a_zero_point, plain.b_zero_point), (plain.a_dtype, plain.b_dtype)
    return Sides(False, extents, plain.m, plain.k, plain.n, a, b, y, *zero_points, *dtypes)


def raised_by(plain: MatMul) -> int:
    """How far sums are shifted left, so that the ratio's rounding bit lies in the product's upper word."""
    return max(0, UPPER_WORD - plain.shift)


def obstacle(plain: MatMul, counted: bool = False, packed: bool = False) -> str | None:
    """Why the core's words do not hold the sums, shifted left by `raised_by`, or what they become. counted: whether the
    kernel takes part of a product; packed: whether it takes columns whose codes lie two to a byte."""
    types = {plain.a_dtype} if plain.packed else {plain.a_dtype, plain.b_dtype}
    if plain.packed and not packed:
        return "its codes lie two to a byte"
    if plain.counted and not counted:
        return "how much of it there is comes in"
    if not types <= set(STORED) or plain.output.dtype not in STORED:
        return "its integers are wider than int16"
    if plain.reach << raised_by(plain) >= INT32_LIMIT:
        return "its sums may pass a word"
    return "its sums may lie on halves" if plain.output.even else None
