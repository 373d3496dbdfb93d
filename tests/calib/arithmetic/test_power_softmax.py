"""Shares that are powers of two: each is the nearest to what its row makes it, and how far off that is."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.calib.arithmetic.power_softmax import FORMAT, LEAST, NONE, STEPS, exponents, steps_of, thresholds
from bevel.calib.arithmetic.round_float import float_steps
from bevel.calib.arithmetic.softmax import LARGEST, LONGEST, distances, exponentials, tables

SCALE = 3e-3


def rows(n: int, spread: int = 2000) -> np.ndarray:
    return np.random.default_rng(0).integers(-spread, spread, (50, n))


@pytest.mark.parametrize("n", [1, 2, 10, 300])
def test_a_share_is_the_nearest_power_to_that_of_the_exponentials(n: int) -> None:
    x = rows(n)
    e = exponentials(distances(x, None), *tables(SCALE, 2**16))
    share = e / e.sum(axis=1, keepdims=True)
    found = steps_of(exponents(x, *tables(SCALE, 2**16))) / 2**LEAST
    powers = np.array([0.0, *2.0 ** -np.arange(LEAST + 1)])
    least = np.abs(share[..., np.newaxis] - powers).min(axis=-1)
    np.testing.assert_allclose(np.abs(found - share), least, atol=2.0**-40)


@pytest.mark.parametrize("n", [2, 17, 65, 256])
def test_shares_are_off_by_a_third_of_themselves_and_leave_14_db(n: int) -> None:
    """Against the softmax of the reals, whose exponentials these know to two steps of 2**-16."""
    x = rows(n)
    reals = np.exp(SCALE * (x - x.max(axis=1, keepdims=True)))
    share = reals / reals.sum(axis=1, keepdims=True)
    found = steps_of(exponents(x, *tables(SCALE, 2**16))) / 2**LEAST
    audible = share > 2.0 ** -(LEAST - 1)
    assert np.abs(found / share - 1)[audible].max() < 1 / 3 + 0.01
    decibels = 10 * np.log10(np.square(share).sum() / np.square(found - share).sum())
    assert decibels > 13.5  # 14.3 where the logarithms of shares are spread evenly


def test_a_row_sums_up_to_between_two_and_four_thirds() -> None:
    found = [
        steps_of(exponents(np.zeros((1, n), int), *tables(SCALE, 2**16))).sum() / 2**LEAST for n in (11, 43, 64, 85)
    ]
    assert found == [11 / 16, 43 / 64, 1, 85 / 64]
    totals = steps_of(exponents(rows(40), *tables(SCALE, 2**16))).sum(axis=1) / 2**LEAST
    assert totals.min() > 2 / 3 and totals.max() < 4 / 3


def test_equal_elements_whose_number_is_a_power_have_their_shares_exactly() -> None:
    for bits in range(LEAST + 1):
        codes = exponents(np.zeros((1, 2**bits), int), *tables(SCALE, 2**16))
        assert (codes == bits).all()


def test_what_is_barred_has_no_share_and_no_part_in_the_others() -> None:
    x = np.array([[5000, 3, 3, -900]])
    keep = np.array([[False, True, True, True]])
    found = exponents(x, *tables(SCALE, 2**16), keep)
    np.testing.assert_array_equal(found[:, 1:], exponents(x[:, 1:], *tables(SCALE, 2**16)))
    assert found[0, 0] == NONE
    assert (exponents(x, *tables(SCALE, 2**16), np.zeros((1, 4), bool)) == NONE).all()


def test_thresholds_of_the_largest_sum_stay_below_two_to_the_31() -> None:
    assert thresholds(np.array([[LONGEST * LARGEST]])).max() < 2**31


def test_codes_stand_for_the_values_of_the_format() -> None:
    assert sorted(steps_of(np.arange(NONE + 1)).tolist()) == [int(one * 2**LEAST) for one in FORMAT.levels if one >= 0]
    assert float_steps(FORMAT) == STEPS
