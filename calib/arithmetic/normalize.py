"""Integers less their mean, over their standard deviation: the arithmetic of Layer-, Instance-, Group- and RMS
normalization and of division by a Euclidean norm.

Of a row of n steps q, with S their sum and Q the sum of their squares:

    centred:      c = n * q - S,   V = n * Q - S**2        c / sqrt(V) == (q - mean) / deviation
    not centred:  c = q,           V = Q                   c / sqrt(V) == q / norm

Both are exact in int64. V + epsilon is shifted left by an even number of bits, 2 * s, to 59 or 60 bits; r is the root
of that, rounded down, of 30 bits, one compared after the other; and with p = 2**59 // r

    t = (floor(c * 2**(s + fraction - 27)) * p + 2**31) >> 32      t / 2**fraction is c / sqrt(V) to 2**-26 of itself

and a unit of t. Both factors are words, as c is at most sqrt(n) * sqrt(V): t is a product's upper word, and so is what
it is scaled by.

A row whose V + epsilon is 0 has no step that is not 0, and is taken for one with V of 1. The root replaces that of
Kim et al. 2021, "I-BERT", section 3.6: digit by digit, where theirs iterates until it settles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.requantize import rounding_shift_right

Int64 = NDArray[np.int64]

ROOT_BITS = 30
INVERSE_BITS = 2 * ROOT_BITS - 1
THRESHOLDS = tuple(4**place for place in range(1, ROOT_BITS))
SUM_LIMIT = 2**ROOT_BITS  # n times the largest step stays below: then V is below 2**60
MOST_FRACTION = 27
WORD_BITS = 32


def fraction_bits(n: int) -> int:
    """The most bits behind the point of t for which c stays a word: it is sqrt(n * V) at most."""
    return MOST_FRACTION - (n.bit_length() + 1) // 2


def places_of(s: NDArray[Any], fraction: int) -> Int64:
    """How far c is shifted left, of rows whose V is shifted by 2 * s; to the right where negative."""
    return s.astype(np.int64) + (fraction - MOST_FRACTION)


def root(value: NDArray[Any]) -> tuple[Int64, Int64]:
    """r and s with r = floor(sqrt(value * 4**s)), r of 30 bits, of values in [1, 2**60)."""
    wide = value.astype(np.int64)
    s = sum((wide < threshold).astype(np.int64) for threshold in THRESHOLDS)
    shifted = wide << (2 * s)
    r = np.zeros_like(shifted)
    for bit in range(ROOT_BITS - 1, -1, -1):
        tried = r + (1 << bit)
        r = np.where(tried * tried <= shifted, tried, r)
    return r, s


def normalize(steps: NDArray[Any], center: bool, epsilon: int, fraction: int) -> Int64:
    """t of each element of steps [rows, n]."""
    q = steps.astype(np.int64)
    n, total, squares = q.shape[1], q.sum(axis=1, keepdims=True), (q * q).sum(axis=1, keepdims=True)
    c, v = (n * q - total, n * squares - total * total) if center else (q, squares)
    r, s = root(np.maximum(v + epsilon, 1))
    places = places_of(s, fraction)
    shifted = (c << np.maximum(places, 0)) >> np.maximum(-places, 0)
    return rounding_shift_right(shifted * (2**INVERSE_BITS // r), WORD_BITS)
