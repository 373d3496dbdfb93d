"""Rounding a row of integers to few codes between its own ends, on a step of its own: a scale for each row, or token.

Of a row c of int16 steps, with codes from 0 to L (255 of 8 bits, 15 of 4):

    low = min c        high = min(max c, `limit`)        d = max(ceil((high - low) / L), 1)
    y = low + d * min(floor((c - low + floor(d / 2)) / d), L)

(y - low) / d is the code, half up; y stays int16 steps of the tensor's own scale, so that whoever reads it need know
neither d nor low: a product by weights may sum codes, multiply the sum by d and add low times the sum of the weights,
or sum y, with equal results. The last code may lie L - 1 beyond `high`, and still within int16.

A device divides once a row: with r = ceil(2**31 / d), floor(n / d) is (n * r) >> 31 for all n that occur, as n * d
stays below 2**31 (Granlund and Montgomery 1994, "Division by Invariant Integers using Multiplication").

Scales of tokens that are computed as the model runs are those of Yao et al. 2022, "ZeroQuant", there of floats. A whole
number d is coarser than the exact one, by less than 1 / d: at 8 bits 0.4 % where the row fills int16, 6 % where it
fills a 16th of that; at 4 bits a 17th of these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HIGHEST = 2**15 - 1
RECIPROCAL_BITS = 31
FEWEST = 3  # codes beside 0: of one alone, n * d would pass 2**31


def limit(levels: int) -> int:
    """The largest end of a row that is not cut."""
    return HIGHEST - levels + 1


def row_step(low: NDArray[Any], high: NDArray[Any], levels: int) -> NDArray[np.int64]:
    """d of rows that lie between these."""
    steps: NDArray[np.int64] = np.maximum(-((low.astype(np.int64) - high) // levels), 1)
    return steps


def round_rows(steps: NDArray[Any], levels: int) -> NDArray[np.int16]:
    """y of int16 `steps`, a row along the last axis: the same shape."""
    c = steps.astype(np.int64)
    low, high = c.min(axis=-1, keepdims=True), np.minimum(c.max(axis=-1, keepdims=True), limit(levels))
    d = row_step(low, high, levels)
    codes = np.minimum((c - low + d // 2) // d, levels)
    rounded: NDArray[np.int16] = (low + d * codes).astype(np.int16)
    return rounded
