"""a * b + c of float32 with one rounding, as IEEE 754-2019 defines fusedMultiplyAdd (section 5.4.1), by float64.

A product of two float32 is exact in float64. Its sum with a third is rounded to odd there: where it is inexact, of the
two neighbours the one whose last bit is 1 is taken. float64 has more than two bits beyond float32, so that rounding
that to float32 rounds the exact sum (Boldo and Melquiond 2008, "Emulation of a FMA and Correctly Rounded Sums: Proved
Algorithms Using Rounding to Odd", theorem 1). The error of the sum is Knuth's TwoSum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def fused(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> NDArray[np.float32]:
    """float32 arrays that broadcast. Infinities and NaN go the way of float64."""
    with np.errstate(all="ignore"):
        product = a.astype(np.float64) * b.astype(np.float64)
        added = c.astype(np.float64)
        total = np.asarray(product + added)
        part = total - product
        error = (product - (total - part)) + (added - part)
        bits = total.view(np.int64)
        inexact = ((error > 0) | (error < 0)) & (bits & 1 == 0)
        away = np.where((error > 0) == (total > 0), 1, -1)
        odd = np.where(inexact, bits + away, bits).view(np.float64)
        return odd.astype(np.float32)
