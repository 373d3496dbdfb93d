"""Softmax of up to 16 bits: the exponential as a product of two tables of 16 bits, one division a row.

For each row, with d the distance of a code from the row's largest:

    e = (coarse[d >> 8] * fine[d & 255] + 2**15) >> 16             exp(-sx * d) * 2**16, without a sign
    r = min(2**47 // sum(e), 2**31 - 1)
    y = (e * r + half) >> (47 - bits)                              the share in units of 2**-bits

exp(-sx * d) is exp(-sx * 256 * (d >> 8)) * exp(-sx * (d & 255)), and 1 is the largest entry there is, 2**16 - 1. An
exponential is within two steps of what it stands for, and a share within two of what the exponentials of its row make
it. What is below half a step is lost: a sum of n may lack n / 2 steps, and the shares of long rows be too large by n /
2**17 of themselves, where nearly all of a row is that small.

Both products are those of instructions that halve or round what they multiply, on eight elements at once (Helium's
VRMULH) or on one (the DSP extension's SMMULR). Elements that a mask bars have no part in the row: their e is 0, and d
is counted from the largest of the others; where all are barred, so are all shares. The distances of Kim et al. 2021,
"I-BERT", section 3.5, with two tables in place of a polynomial.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.requantize import rounding_shift_right

Int64 = NDArray[np.int64]

FINE = 256  # entries of each table; distances are below their product
ENTRY_BITS = 16
LARGEST = 2**ENTRY_BITS - 1
FACTOR_BITS = 31  # of a reciprocal
RECIPROCAL_BITS = FACTOR_BITS + ENTRY_BITS
LONGEST = 2**15  # elements of a row whose sum is an int32; that of longer ones, below 2**47, an int64


def tables(scale: float, distances: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """coarse and fine for inputs of `scale` whose codes differ by less than `distances`."""
    coarse = np.exp(-scale * FINE * np.arange(-(-distances // FINE)))
    fine = np.exp(-scale * np.arange(FINE))
    first, second = (np.minimum(np.rint(one * 2**ENTRY_BITS), LARGEST).astype(np.uint16) for one in (coarse, fine))
    return first, second


def exponentials(distance: Int64, coarse: NDArray[Any], fine: NDArray[Any]) -> Int64:
    product = coarse.astype(np.int64)[distance // FINE] * fine.astype(np.int64)[distance % FINE]
    return rounding_shift_right(product, ENTRY_BITS)


def distances(x: NDArray[Any], keep: NDArray[np.bool_] | None) -> Int64:
    """How far each element of x [rows, n] lies below the largest that its row keeps; 0 of those it does not keep."""
    wide = x.astype(np.int64)
    if keep is None:
        return np.asarray(wide.max(axis=1, keepdims=True) - wide)
    largest = np.where(keep, wide, np.iinfo(x.dtype).min).max(axis=1, keepdims=True)
    return np.where(keep, largest - wide, 0)


def shares(
    x: NDArray[Any], coarse: NDArray[Any], fine: NDArray[Any], bits: int, keep: NDArray[np.bool_] | None = None
) -> Int64:
    """The softmax of each row of x [rows, n], in units of 2**-bits; of the elements that `keep` says, if given."""
    e = exponentials(distances(x, keep), coarse, fine)
    e = e if keep is None else np.where(keep, e, 0)
    factor = np.minimum(2**RECIPROCAL_BITS // np.maximum(e.sum(axis=1, keepdims=True), 1), 2**FACTOR_BITS - 1)
    return rounding_shift_right(e * factor, RECIPROCAL_BITS - bits)
