"""The integer softmax of 16 bits is that of the reals to two steps."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.calib.arithmetic.softmax import LARGEST, LONGEST, distances, exponentials, shares, tables


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
@pytest.mark.parametrize("scale", [1e-4, 3e-3, 0.1])
def test_shares_are_those_of_the_reals_to_two_steps_of_sixteen_bits(n: int, scale: float) -> None:
    x = np.random.default_rng(0).integers(-(2**15), 2**15, (50, n))
    x[1] = x[1] // 300  # codes near each other share between them
    found = shares(x, *tables(scale, 2**16), 16)
    reals = np.exp(scale * (x - x.max(axis=1, keepdims=True)))
    wanted = reals / reals.sum(axis=1, keepdims=True) * 2**16
    assert np.abs(found - wanted).max() <= 2  # of these rows: exponentials are off to both sides, and sums less


@pytest.mark.parametrize("scale", np.geomspace(1e-6, 1, 13))
def test_exponentials_are_those_of_the_reals_to_two_steps(scale: float) -> None:
    distance = np.arange(2**16)
    found = exponentials(distance, *tables(scale, 2**16))
    assert np.abs(found - 2**16 * np.exp(-scale * distance)).max() <= 2


@pytest.mark.parametrize("n", [1, 3, 1000])
def test_shares_are_those_of_the_exponentials_to_two_steps(n: int) -> None:
    x = np.random.default_rng(1).integers(-(2**15), 2**15, (50, n))
    e = exponentials(distances(x, None), *tables(3e-3, 2**16))
    assert np.abs(shares(x, *tables(3e-3, 2**16), 16) - e / e.sum(axis=1, keepdims=True) * 2**16).max() <= 2


def test_what_is_below_half_a_step_is_lost_of_a_sum() -> None:
    n, small = 1000, 0.45 / 2**16
    x = np.where(np.arange(n) == 0, 0, -3000)[np.newaxis]
    found = shares(x, *tables(-np.log(small) / 3000, 2**16), 16)[0, 0] / 2**16
    true = 1 / (1 + (n - 1) * small)
    assert 0 < found / true - 1 <= n / 2**17


def test_the_largest_of_equal_codes_share_exactly() -> None:
    found = shares(np.full((1, 4), -(2**15)), *tables(0.01, 2**16), 16)
    assert found.tolist() == [[2**14] * 4]


def test_the_sum_of_the_longest_row_stays_below_two_to_the_31() -> None:
    assert LONGEST * LARGEST < 2**31
