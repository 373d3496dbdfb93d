"""Softmax over the last axis to shares that are powers of two (`bevel.calib.arithmetic.power_softmax`).

The codes are found without dividing: the sum of a row says above which exponentials each power is the nearest, and four
comparisons find an element's place among those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np

from bevel.backends.program.op import Array, Op, Operand, stored
from bevel.backends.program.ops.softmax import Mask, counts, masked, row_example, row_operands, two_tables
from bevel.calib.arithmetic.power_softmax import NONE, exponents
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE, LONGEST

CODES = Output(0, 0, NONE)


@dataclass(frozen=True)
class PowerSoftmax(Op):
    """x: x_dtype [rows, n]; coarse: uint16 [distances / 256]; fine: uint16 [256]; y: int8 [rows, n], codes 0 .. 15.

    n is at most `LONGEST`, so that a row's exponentials have an int32 sum. The mask, if there is one, comes behind x.
    """

    rows: int
    n: int
    coarse: int
    x_dtype: str = "int16"
    mask: Mask | None = None

    def __post_init__(self) -> None:
        if self.n > LONGEST:
            raise ValueError(f"rows have at most {LONGEST} elements, not {self.n}")

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.rows, self.n)
        return row_operands(shape, self.x_dtype, self.mask, two_tables(self.coarse), stored("y", shape, CODES))

    @property
    def in_place(self) -> bool:
        return self.x_dtype == CODES.dtype

    @property
    def any_codes(self) -> bool:
        return not counts(self.mask)

    @property
    def nothing(self) -> int:
        """The code of a share of 0."""
        return NONE

    def reference(self, *arrays: Array) -> Array:
        (x, coarse, fine), keep = masked(self.mask, arrays)
        return exponents(x, coarse, fine, keep)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return row_example(rng, (self.rows, self.n), self.x_dtype, self.mask, self.coarse)


def cases() -> Iterable[PowerSoftmax]:
    for rows, n in ((1, 1), (2, 3), (3, 10), (2, 1001)):
        yield PowerSoftmax(rows, n, FINE)
    yield PowerSoftmax(3, 17, 1, "int8")
    yield PowerSoftmax(2, LONGEST, 1, "int8")
    for shape, mask_shape in (((2, 3, 5), (5,)), ((1,), (1,))):
        for mask in (Mask(shape, mask_shape, 7, prefix=True), Mask(shape, mask_shape, 7)):
            yield PowerSoftmax(prod(shape), 7, FINE, mask=mask)
    yield PowerSoftmax(6, 70, FINE, mask=Mask((2, 3), (2, 1), 70, True, False))
    coming, barred = (Mask((2, 3, 4), (2, 1, 4), 9, constant=False, inverted=one) for one in (False, True))
    yield PowerSoftmax(24, 9, 1, "int8", coming)
    yield PowerSoftmax(24, 9, FINE, mask=barred)
