"""Hadamard matrices of size 4 w from four symmetric circulant ones of odd size w.

    H = [[A, B, C, D], [-B, A, -D, C], [-C, D, A, -B], [-D, -C, B, A]],    A^2 + B^2 + C^2 + D^2 = 4 w I

Source: Williamson 1944, "Hadamard's Determinant Theorem and the Sum of Four Squares". `HALVES` has the first half of
each first row, found by search over sequences whose power spectra sum to 4 w; for 43, over those that are constant on
the cosets of the cubes' subgroup.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HALVES: dict[int, tuple[str, str, str, str]] = {
    13: ("++-----", "++-++--", "+-+-++-", "++--+-+"),
    23: ("+--++-+-+---", "+-+--+++++--", "+-+++--++-+-", "+++++-++---+"),
    25: ("++--++++++-+-", "+-+-++---+--+", "++-+-+++-----", "++--+-++-++--"),
    29: ("+--+-+++++--++-", "+++---+++-+-+--", "+++--++-+-+----", "+++-++-+--+++-+"),
    43: ("++-+--++-+++----+++-++", "+--++----+-+---+--++++", "+--+++--+-+--+-+++++-+", "+-+-+----++++-++++-++-"),
}


def williamson(n: int) -> NDArray[np.float64] | None:
    """[n, n] of +-1, or None where `HALVES` has no such size."""
    if n % 4 or n // 4 not in HALVES:
        return None
    a, b, c, d = map(circulant, HALVES[n // 4])
    return np.block([[a, b, c, d], [-b, a, -d, c], [-c, d, a, -b], [-d, -c, b, a]])


def circulant(half: str) -> NDArray[np.float64]:
    signs = np.array([1.0 if one == "+" else -1.0 for one in half])
    row = np.concatenate([signs, signs[:0:-1]])
    return np.array([np.roll(row, shift) for shift in range(len(row))])
