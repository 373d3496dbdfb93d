"""The reference arithmetic against exact rational numbers."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.calib.arithmetic.requantize import (
    MAX_SHIFT,
    Output,
    fixed_point,
    fixed_points,
    requantize,
    rounding_shift_right,
)

HALF = Fraction(1, 2)
INT32 = st.integers(-(2**31), 2**31 - 1)
RATIOS = st.floats(2.0**-32, 2.0**29)


@given(RATIOS)
def test_fixed_point_is_within_half_a_unit_of_the_ratio(ratio: float) -> None:
    multiplier, shift = fixed_point(ratio)
    assert 2**30 <= multiplier < 2**31
    assert 1 <= shift <= MAX_SHIFT
    assert abs(Fraction(multiplier, 2**shift) - Fraction(ratio)) <= Fraction(1, 2 ** (shift + 1))


@given(st.floats(2.0**-300, 2.0**-32, exclude_max=True), INT32)
def test_ratios_below_the_smallest_multiplier_round_every_accumulator_to_zero(ratio: float, accumulator: int) -> None:
    multiplier, shift = fixed_point(ratio)
    assert requantize(np.array([accumulator], np.int32), np.array(multiplier), np.array(shift), Output())[0] == 0


@pytest.mark.parametrize("ratio", [0.0, -1.0, 2.0**30, float("nan"), float("inf")])
def test_ratios_without_a_fixed_point_are_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        fixed_point(ratio)


@given(st.lists(RATIOS, max_size=6))
def test_fixed_points_are_fixed_point_element_by_element(ratios: list[float]) -> None:
    multipliers, shifts = fixed_points(np.array(ratios, np.float64).reshape(-1, 1))
    assert multipliers.dtype == np.int32 and shifts.dtype == np.int8
    assert multipliers.shape == shifts.shape == (len(ratios), 1)
    assert list(zip(multipliers.ravel().tolist(), shifts.ravel().tolist(), strict=True)) == list(
        map(fixed_point, ratios)
    )


@given(st.integers(-(2**62), 2**62 - 1), st.integers(0, MAX_SHIFT))
def test_a_rounding_shift_divides_by_a_power_of_two_and_rounds_half_up(value: int, shift: int) -> None:
    exact = floor(Fraction(value, 2**shift) + HALF)
    assert rounding_shift_right(np.array([value], np.int64), shift)[0] == exact


@given(INT32, st.integers(0, 2**31 - 1), st.integers(1, MAX_SHIFT), st.integers(-128, 127))
def test_requantize_rounds_once_and_half_up(accumulator: int, multiplier: int, shift: int, zero_point: int) -> None:
    exact = floor(Fraction(accumulator * multiplier, 2**shift) + HALF) + zero_point
    got = requantize(
        np.array([accumulator], np.int32), np.array([multiplier], np.int32), np.array([shift]), Output(zero_point)
    )
    assert got.dtype == np.int8
    assert got[0] == min(max(exact, -128), 127)


@given(INT32, st.integers(-128, 0), st.integers(1, 127))
def test_requantize_stays_in_the_interval_of_its_output(accumulator: int, low: int, high: int) -> None:
    multiplier, shift = fixed_point(0.001)
    output = Output(0, low, high)
    got = requantize(np.array([accumulator], np.int32), np.array([multiplier]), np.array([shift]), output)
    free = floor(Fraction(accumulator * multiplier, 2**shift) + HALF)
    assert got[0] == min(max(free, low), high)


def test_each_channel_has_its_own_multiplier() -> None:
    multipliers, shifts = fixed_points(np.array([0.5, 0.25]))
    accumulators = np.array([[10, 10], [3, 2]], np.int32)
    assert requantize(accumulators, multipliers, shifts, Output()).tolist() == [[5, 3], [2, 1]]
