"""Moments of rows: those that count twice are as good as there twice, and no order of rows changes a bit."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np

from bevel.calib.observe.moments import Moments


def rows(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, count, 3)).astype(np.float32), rng.standard_normal((2, count, 4)).astype(np.float32)


def test_a_row_that_counts_three_times_is_as_good_as_there_three_times() -> None:
    x, y = rows()
    times = np.random.default_rng(1).integers(1, 4, x.shape[1])
    repeated = Moments.of(x.repeat(times, axis=1), y.repeat(times, axis=1))
    counted = Moments.of(x, y, times.astype(np.float32))
    assert counted.count == repeated.count == times.sum()
    for name in ("second", "cross", "x_mean", "y_mean", "y_power"):  # values are rounded to 18 bits below the largest
        np.testing.assert_allclose(getattr(counted, name), getattr(repeated, name), atol=1e-5)
    weights = np.random.default_rng(2).standard_normal((2, 3, 4))
    np.testing.assert_allclose(counted.error(weights), repeated.error(weights), rtol=1e-4)
    np.testing.assert_allclose(counted.shift(weights), repeated.shift(weights), atol=1e-5)


def test_no_order_of_rows_changes_a_bit() -> None:
    x, y = rows(1000)
    counts = np.random.default_rng(1).random(1000).astype(np.float32) + np.float32(0.01)
    order = np.random.default_rng(2).permutation(1000)
    for how in (None, counts):
        straight = Moments.of(x, y, how)
        shuffled = Moments.of(x[:, order], y[:, order], None if how is None else how[order])
        for one, other in zip(astuple(straight), astuple(shuffled), strict=True):
            np.testing.assert_array_equal(one, other)
