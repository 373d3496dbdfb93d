"""The scale of scores is that which leaves most of the shares a Softmax makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.calib.formats.format import INT8, parse
from bevel.calib.formats.scheme import Scheme
from bevel.calib.formats.stairs import climbed, stairs
from bevel.calib.observe.statistics import Statistics
from bevel.calib.scales.scores import score_stairs, shares

E2M3 = Scheme(parse("e2m3"), symmetric=True)


def rows_of(spread: float, shift: float = 0.0) -> np.ndarray:
    return (spread * np.random.default_rng(3).standard_normal((300, 40)) + shift).astype(np.float32)


@pytest.mark.parametrize("shift", [0.0, 9.0, -30.0])
def test_shares_keep_a_decibel_more_than_with_the_scale_of_least_squared_error(shift: float) -> None:
    scores = rows_of(3.0, shift)
    seen = Statistics.of(scores)
    found, plain = score_stairs(scores, seen, E2M3), stairs(seen, E2M3)
    exact = shares(scores.astype(np.float64))
    mine, others = (np.square(shares(climbed(scores.astype(np.float64), one)) - exact).sum() for one in (found, plain))
    assert mine < 0.8 * others


def test_no_score_that_was_seen_is_clipped_at_the_top() -> None:
    scores = rows_of(1.0)
    seen = Statistics.of(np.append(scores, np.float32(25))[np.newaxis])
    found = score_stairs(scores, seen, E2M3)
    assert climbed(np.array([25.0]), found)[0] == pytest.approx(25, rel=0.05)


def test_scores_of_zero_get_scale_one_and_no_scores_and_integers_are_refused() -> None:
    nothing = np.zeros((2, 3), np.float32)
    assert score_stairs(nothing, Statistics.of(nothing), E2M3).last.scale == 1
    for scores, scheme in ((nothing[:0], E2M3), (nothing, Scheme(INT8))):
        with pytest.raises(ValueError, match="no scores"):
            score_stairs(scores, Statistics.of(nothing), scheme)
