"""Sums that do not depend on the order of their terms.

Floating-point addition is not associative, so a mean taken over batches of 8 differs in its last bits from one taken
over batches of 32. Here every term is rounded once to a multiple of 2**-64, split into signed 32-bit digits, and the
digits are added as int64: integer addition is associative, and an int64 digit holds 2**31 terms without overflow.
A reproducible accumulator in the manner of Kulisch 1981; the span of 2**-64 to 2**288 covers sums of products of
float32 values.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import frexp, ldexp

import numpy as np
from numpy.typing import NDArray

DIGIT_BITS = 32
DIGITS = 11  # the most there are
UNIT = -64  # the lowest digit counts multiples of 2**UNIT


@dataclass(frozen=True, eq=False)
class ExactSum:
    """Independent sums, one a column: `digits` is [as many as the largest term needs, columns], lowest first."""

    digits: NDArray[np.int64]

    @staticmethod
    def of(terms: NDArray[np.float64]) -> ExactSum:
        """The column sums of `terms` [count, columns], finite and below 2**287 in magnitude."""
        rest = terms
        digits = np.zeros((length(float(np.abs(terms).max(initial=0.0))), terms.shape[1]), np.int64)
        for place in reversed(range(len(digits))):
            # Truncation towards zero makes the digits of a term unique: its leading digits are 0 wherever we start.
            unit = ldexp(1.0, UNIT + DIGIT_BITS * place)  # a power of two: products with it and quotients are exact
            digit = np.trunc(rest / unit) if place else np.rint(rest / unit)
            digits[place] = digit.astype(np.int64).sum(axis=0)
            rest = rest - digit * unit
        return ExactSum(digits)

    def merge(self, other: ExactSum) -> ExactSum:
        more, fewer = sorted((self.digits, other.digits), key=len, reverse=True)
        digits = more.copy()
        digits[: len(fewer)] += fewer
        return ExactSum(digits)

    def divided(self, count: int) -> NDArray[np.float64]:
        """Each sum divided by `count`, rounded once: [columns]."""
        columns = self.digits.T.tolist()
        totals = [sum(digit << DIGIT_BITS * place for place, digit in enumerate(digits)) for digits in columns]
        return np.array([float(Fraction(total, count << -UNIT)) for total in totals], np.float64)


def length(largest: float) -> int:
    """How many digits a magnitude needs."""
    return min(DIGITS, max(0, frexp(largest)[1] - UNIT) // DIGIT_BITS + 1) if largest else 0
