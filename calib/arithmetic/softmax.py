"""Softmax of 16-bit integers: the exponential as a product of two tables, one division a row.

For each row, with d the distance of a code from the row's largest:

    e = (coarse[d >> 8] * fine[d & 255] + half) >> (60 - k),    exp(-sx * d) * 2**k, exactly 2**k at d = 0
    y = (e * (2**62 // sum(e)) + half) >> (62 - bits),          the share in units of 2**-bits

exp(-sx * d) is exp(-sx * 256 * (d >> 8)) * exp(-sx * (d & 255)), and both tables hold 30 bits behind the point. k is
the largest that keeps the sum of a row below 2**31. Elements that a mask bars have no part in the row: their e is 0,
and d is counted from the largest of the others; where all are barred, so are all shares. The distances of Kim et al.
2021, "I-BERT", section 3.5, with two tables in place of a polynomial.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

FINE = 256  # entries of each table; distances are below their product
TABLE_BITS = 30
RECIPROCAL_BITS = 62
SUM_BITS = 31


def exponent_bits(n: int) -> int:
    """The largest k with n * 2**k < 2**31, and no more than the tables hold."""
    return min(TABLE_BITS, SUM_BITS - n.bit_length())


def tables(scale: float, distances: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """coarse and fine for inputs of `scale` whose codes differ by less than `distances`."""
    coarse = np.exp(-scale * FINE * np.arange(-(-distances // FINE)))
    fine = np.exp(-scale * np.arange(FINE))
    first, second = (np.rint(one * 2**TABLE_BITS).astype(np.int32) for one in (coarse, fine))
    return first, second


def distances(x: NDArray[Any], keep: NDArray[np.bool_] | None) -> Int64:
    """How far each element of x [rows, n] lies below the largest that its row keeps; 0 of those it does not keep."""
    wide = x.astype(np.int64)
    if keep is None:
        return np.asarray(wide.max(axis=1, keepdims=True) - wide)
    largest = np.where(keep, wide, np.iinfo(x.dtype).min).max(axis=1, keepdims=True)
    return np.where(keep, largest - wide, 0)


def shares(
    x: NDArray[Any],
    coarse: NDArray[Any],
    fine: NDArray[Any],
    exponent: int,
    bits: int,
    keep: NDArray[np.bool_] | None = None,
) -> Int64:
    """The softmax of each row of x [rows, n], in units of 2**-bits; of the elements that `keep` says, if given."""
    distance = distances(x, keep)
    product = coarse.astype(np.int64)[distance // FINE] * fine.astype(np.int64)[distance % FINE]
    shift = 2 * TABLE_BITS - exponent
    e = (product + (1 << (shift - 1))) >> shift
    e = e if keep is None else np.where(keep, e, 0)
    reciprocal = 2**RECIPROCAL_BITS // np.maximum(e.sum(axis=1, keepdims=True), 1)
    shift = RECIPROCAL_BITS - bits
    result: Int64 = (e * reciprocal + (1 << (shift - 1))) >> shift
    return result
