"""The integer softmax of 16 bits is that of the reals to a step."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.calib.arithmetic.softmax import exponent_bits, shares, tables


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
@pytest.mark.parametrize("scale", [1e-4, 3e-3, 0.1])
def test_shares_are_those_of_the_reals_to_a_step_of_sixteen_bits(n: int, scale: float) -> None:
    x = np.random.default_rng(0).integers(-(2**15), 2**15, (50, n))
    x[1] = x[1] // 300  # codes near each other share between them
    found = shares(x, *tables(scale, 2**16), exponent_bits(n), 16)
    reals = np.exp(scale * (x - x.max(axis=1, keepdims=True)))
    wanted = reals / reals.sum(axis=1, keepdims=True) * 2**16
    assert np.abs(found - wanted).max() <= 1


def test_the_largest_of_equal_codes_share_exactly() -> None:
    found = shares(np.full((1, 4), -(2**15)), *tables(0.01, 2**16), exponent_bits(4), 16)
    assert found.tolist() == [[2**14] * 4]


@pytest.mark.parametrize("n", [1, 3, 1000, 2**15])
def test_the_sum_of_a_row_stays_below_two_to_the_31(n: int) -> None:
    assert n * 2 ** exponent_bits(n) < 2**31
