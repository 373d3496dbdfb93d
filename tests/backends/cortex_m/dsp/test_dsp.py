"""Ratios are only changed where no result can tell, and accumulators raised as far as they must and may be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.cortex_m.dsp.dsp import LEAST_SHIFT, MOST_SHIFT, needed_raise, without_dead
from bevel.calib.arithmetic.requantize import Output, requantize


@given(st.integers(1, 62), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_a_ratio_is_called_dead_only_if_every_accumulator_is_rescaled_to_zero(
    shift: int, multiplier: int, bound: int
) -> None:
    ratio = np.array([multiplier], np.int32), np.array([shift], np.int8)
    changed = without_dead(np.array([bound]), *ratio)
    accumulators = np.array([-bound, -bound // 2, -1, 0, 1, bound]).clip(-bound, bound)
    np.testing.assert_array_equal(
        requantize(accumulators, *ratio, Output(-7)), requantize(accumulators, *changed, Output(-7))
    )


def test_a_ratio_of_nearly_nothing_is_dead() -> None:
    multiplier, shift = without_dead(np.array([1000]), np.array([2**30], np.int32), np.array([62], np.int8))
    assert (int(multiplier[0]), int(shift[0])) == (0, LEAST_SHIFT)


def raise_for(*shifts: int, bound: int = 2**26) -> int | str:
    multipliers = np.full(len(shifts), 2**31 - 1, np.int32)
    return needed_raise(np.full(len(shifts), bound), multipliers, np.array(shifts, np.int8))


@pytest.mark.parametrize(("shifts", "raised"), [((33, 40), 0), ((32, 33), 1), ((30,), 3), ((33, MOST_SHIFT), 0)])
def test_accumulators_are_raised_until_the_smallest_shift_is_33(shifts: tuple[int, ...], raised: int) -> None:
    assert raise_for(*shifts) == raised


def test_ratios_too_far_apart_have_no_common_raise() -> None:
    assert raise_for(32, MOST_SHIFT) == "its ratios are too far apart"


def test_an_accumulator_that_would_overflow_is_not_raised() -> None:
    assert raise_for(28, bound=2**26 - 1) == 5
    assert raise_for(28, bound=2**26) == "an accumulator may be too large for a ratio above 1/4"
