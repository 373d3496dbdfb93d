"""Intervals hold the truth as often as they say: counted over all outcomes, or over seeded draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bevel.tools.report.answers import Answers, paired_interval, share_interval


def test_the_paired_interval_is_the_published_one() -> None:
    """By hand: 3 lost and 7 gained of 98: 4/100 +- 1.959964 sqrt(11 - 16/100) / 100."""
    low, high = paired_interval(98, 3, 7)
    reach = 1.959964 * math.sqrt(10.84) / 100
    assert (low, high) == pytest.approx((0.04 - reach, 0.04 + reach), abs=1e-12)


def test_the_paired_interval_stays_within_what_can_be() -> None:
    assert paired_interval(1, 1, 0)[0] == -1.0 and paired_interval(1, 0, 1)[1] == 1.0


@pytest.mark.parametrize(("lost", "gained"), [(0.02, 0.02), (0.05, 0.01), (0.1, 0.0)])
def test_the_paired_interval_holds_the_truth_in_nineteen_of_twenty_draws(lost: float, gained: float) -> None:
    rng, draws = np.random.default_rng(0), 4000
    counts = rng.multinomial(400, [lost, gained, 1 - lost - gained], draws)
    bounds = [paired_interval(400, int(one[0]), int(one[1])) for one in counts]
    held = np.mean([low <= gained - lost <= high for low, high in bounds])
    assert abs(held - 0.95) < 0.02  # draws: 0.0034 standard error; counts are whole: steps of a percent


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_the_interval_of_a_share_holds_the_truth_in_nineteen_of_twenty_samples(share: float) -> None:
    """Exactly: summed over all counts of 200 samples. Whole counts make it 0.93 to 0.98 instead of 0.95."""
    count, held = 200, 0.0
    for right in range(count + 1):
        low, high = share_interval(right / count, count)
        if low <= share <= high:
            held += math.comb(count, right) * share**right * (1 - share) ** (count - right)
    assert 0.93 < held < 0.98


def test_shares_of_nothing_and_of_all_end_where_they_must() -> None:
    assert share_interval(0.0, 10)[0] == 0.0
    assert share_interval(1.0, 10)[1] == pytest.approx(1.0, abs=1e-15)  # a sum and a quotient, of float64
    assert 0.2 < share_interval(0.0, 10)[1] < 0.35  # ten samples rule out little


def test_answers_say_what_changed() -> None:
    found = Answers.of(labelled=100, lost=3, gained=1, changed=2)
    assert found.difference == pytest.approx(-0.02) and found.low < -0.02 < found.high
    assert found.told().startswith("3 lost, 1 gained, 2 otherwise changed of 100: -2.00 points (-")


def test_no_samples_have_no_interval() -> None:
    with pytest.raises(ValueError, match="no sample"):
        Answers.of(0, 0, 0, 0)
