"""The logarithm of a Softmax in integers: a logarithm a row, by a table of 257 entries and straight lines between.

For each row, with d the distance of a code from the row's largest and S the sum of their exponentials, which are
`bevel.calib.arithmetic.softmax`'s, in units of 2**-16:

    S * 2**z = (1 + (i + f) / 256) * 2**30                       z, i and f from S's leading bits; f in 2**-22
    L = (14 - z) * ln 2 + table[i] + (table[i + 1] - table[i]) * f     in units of 2**-24, rounded down
    y = (offset - d * A - L * B) >> n

A straight line between neighbours is at most 2**-19 off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.softmax import ENTRY_BITS, exponentials

Int64 = NDArray[np.int64]

SUM_BITS = 31
LOG_BITS = 24
INDEX_BITS = 8
FRACTION_BITS = SUM_BITS - 1 - INDEX_BITS
LOG_OF_TWO = round(float(np.log(2.0)) * 2**LOG_BITS)
THRESHOLDS = tuple(2**place for place in range(1, SUM_BITS))
LOGARITHMS = np.rint(np.log1p(np.arange(2**INDEX_BITS + 1) / 2**INDEX_BITS) * 2**LOG_BITS).astype(np.int32)


def logarithm(total: NDArray[Any]) -> Int64:
    """ln(total / 2**16) in units of 2**-24, of totals in [1, 2**31)."""
    wide = total.astype(np.int64)
    z = sum((wide < threshold).astype(np.int64) for threshold in THRESHOLDS)
    mantissa = (wide << z) - (1 << (SUM_BITS - 1))
    index, fraction = mantissa >> FRACTION_BITS, mantissa & ((1 << FRACTION_BITS) - 1)
    table = LOGARITHMS.astype(np.int64)
    between = ((table[index + 1] - table[index]) * fraction) >> FRACTION_BITS
    result: Int64 = (SUM_BITS - 1 - ENTRY_BITS - z) * LOG_OF_TWO + table[index] + between
    return result


def sums(x: NDArray[Any], coarse: NDArray[Any], fine: NDArray[Any]) -> tuple[Int64, Int64]:
    """The distances of each row of x [rows, n] from its largest, and the sums [rows, 1] of their exponentials."""
    wide = x.astype(np.int64)
    distance = wide.max(axis=1, keepdims=True) - wide
    return distance, exponentials(distance, coarse, fine).sum(axis=1, keepdims=True)
