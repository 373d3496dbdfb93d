"""Rows rounded between their own ends, beside the reals that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.calib.arithmetic.round_rows import FEWEST, HIGHEST, RECIPROCAL_BITS, limit, round_rows, row_step


@pytest.mark.parametrize("levels", [3, 15, 255])
def test_every_value_is_the_nearest_of_its_rows_codes(levels: int) -> None:
    rng = np.random.default_rng(levels)
    steps = np.rint(rng.standard_normal((200, 50)) * 2.0 ** rng.uniform(0, 15, (200, 1)) + rng.integers(-99, 99))
    steps = np.clip(steps, -(2**15), HIGHEST).astype(np.int16)
    found, kept = round_rows(steps, levels).astype(np.int64), steps.astype(np.int64)
    low, high = kept.min(axis=1, keepdims=True), np.minimum(kept.max(axis=1, keepdims=True), limit(levels))
    d = row_step(low, high, levels)
    assert ((found - low) % d == 0).all() and (found >= low).all() and ((found - low) // d).max() <= levels
    assert (2 * np.abs(found - kept) <= d)[kept <= limit(levels)].all() and np.abs(found - kept).max() <= d.max()


def test_a_tie_goes_up_and_equal_values_stay() -> None:
    rows = np.array([[0, 30, 1, 2, 3], [-7, -7, -7, -7, -7]], np.int16)
    assert round_rows(rows, 15).tolist() == [[0, 30, 2, 2, 4], [-7, -7, -7, -7, -7]]


@pytest.mark.parametrize("levels", [3, 15, 255])
def test_rows_at_the_ends_of_int16_do_not_leave_it(levels: int) -> None:
    for row in ([-(2**15), HIGHEST, 0], [HIGHEST, HIGHEST], [HIGHEST - 9, HIGHEST], [-(2**15), -(2**15) + 1]):
        found = round_rows(np.array(row, np.int16), levels).astype(np.int64)
        assert np.abs(found - row).max() <= max(levels, 2**16 // levels)
        assert (found == np.clip(found, min(row), HIGHEST)).all()


@pytest.mark.parametrize(("levels", "share", "more"), [(255, 1, 1.03), (255, 1 / 16, 1.2), (15, 1 / 16, 1.02)])
def test_the_error_is_nearly_that_of_a_real_scale_a_row(levels: int, share: float, more: float) -> None:
    """Normal rows, the largest of which fills a share of int16: a whole number d may be coarser by 1 / d."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 64))
    steps = np.rint(x / np.abs(x).max() * limit(levels) * share)
    low, high = steps.min(axis=1, keepdims=True), steps.max(axis=1, keepdims=True)
    scale = (high - low) / levels
    real = np.square(np.rint((steps - low) / scale) * scale + low - steps).sum()
    assert np.square(round_rows(steps.astype(np.int16), levels) - steps).sum() < more * real


def test_the_reciprocal_divides_exactly() -> None:
    for levels in (FEWEST, 15, 255):
        widest = -(-(2**15 + limit(levels)) // levels)
        for d in {1, 2, 3, 5, 7, 255, 256, 257, widest - 1, widest} & set(range(1, widest + 1)):
            n = np.arange(min(d * levels, 2**16 - 1) + d // 2 + levels, dtype=np.int64)
            r = (2**RECIPROCAL_BITS - 1) // d + 1
            assert np.array_equal((n * r) >> RECIPROCAL_BITS, n // d)
