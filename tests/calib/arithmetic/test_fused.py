"""One rounding: the float32 nearest to the exact sum, also where float64 would round it to the middle of two."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bevel.calib.arithmetic.fused import fused

floats = st.floats(width=32, min_value=-(2.0**50), max_value=2.0**50)


def nearest(exact: Fraction) -> np.float32:
    """By comparing neighbours of a float32 that is near; ties to even."""
    near = np.float32(float(exact))
    around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    return min(around, key=lambda one: (abs(Fraction(float(one)) - exact), int(one.view(np.int32)) & 1))


def exact(a: float, b: float, c: float) -> Fraction:
    a, b, c = (Fraction(float(np.float32(one))) for one in (a, b, c))
    return a * b + c


@given(floats, floats, floats)
def test_the_sum_is_rounded_once(a: float, b: float, c: float) -> None:
    found = fused(*(np.float32([one]) for one in (a, b, c)))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, nearest(exact(a, b, c)))


def test_what_float64_takes_for_a_middle_is_rounded_to_the_nearer_side() -> None:
    a, b = np.float32(1 + 2.0**-20), np.float32(1 - 2.0**-20)
    for c, sign in ((2.0**24 + 2, 1), (2.0**24 + 2, -1), (2.0**24 + 4, -1), (-(2.0**24) - 2, -1)):
        found = fused(np.float32([sign * a]), np.float32([b]), np.float32([c]))
        np.testing.assert_array_equal(found, nearest(exact(sign * a, b, c)))
    twice_rounded = np.float32(np.float64(a) * np.float64(b) + (2.0**24 + 2))
    assert fused(np.float32([a]), np.float32([b]), np.float32([2.0**24 + 2])) != twice_rounded


def test_what_leaves_float32_and_what_is_no_number_go_through() -> None:
    big = np.float32([3e38, -3e38, np.inf, np.inf, np.nan, 0.0])
    found = fused(big, np.float32([2, 2, 1, 0, 1, 1]), np.float32([0, 0, 1, 0, 0, -0.0]))
    np.testing.assert_array_equal(found, np.float32([np.inf, -np.inf, np.inf, np.nan, np.nan, 0.0]))
