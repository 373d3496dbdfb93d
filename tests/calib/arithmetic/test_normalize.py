"""Normalization in integers is within a few units of its last place of the real one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.calib.arithmetic.normalize import fraction_bits, normalize, root


@given(st.integers(1, 2**60 - 1))
def test_root_is_the_integer_below_the_real_one(value: int) -> None:
    r, s = root(np.array([value]))
    assert 2**29 <= int(r[0]) < 2**30
    assert int(r[0]) ** 2 <= value * 4 ** int(s[0]) < (int(r[0]) + 1) ** 2


@pytest.mark.parametrize("n", [1, 2, 24, 4096, 2**20])
@pytest.mark.parametrize("center", [True, False])
def test_rows_are_normalized_to_the_last_places(n: int, center: bool) -> None:
    q = np.random.default_rng(n).integers(-255, 256, (3, n))
    fraction = fraction_bits(n)
    steps = (q - q.mean(axis=1, keepdims=True)) * n if center else q.astype(np.float64)
    spread = n * (q * q).sum(axis=1) - q.sum(axis=1) ** 2 if center else (q * q).sum(axis=1)
    expected = steps / np.sqrt(np.maximum(spread, 1))[:, None]
    found = normalize(q, center, 0, fraction)
    assert np.abs(found).max() < 2**30
    np.testing.assert_allclose(found / 2.0**fraction, expected, rtol=2.0**-26, atol=2.0**-fraction)


def test_row_without_deviation_is_zero_and_epsilon_counts() -> None:
    assert not normalize(np.full((1, 7), 55), True, 0, 20).any()
    halved = normalize(np.array([[1, -1]]), True, 3 * 4, 20)  # V is 4: with epsilon 16
    np.testing.assert_allclose(halved[0] / 2.0**20, [0.5, -0.5], atol=2.0**-20)
