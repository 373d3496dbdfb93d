"""What the model's results decide about rounders: by errors of each sample that are known here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from bevel.passes.quantize.result_probe import ResultProbe
from bevel.passes.quantize.settle_rounders import CLEARLY, SettledWay, better, settled, trials

NAMES = ["nearest", "kernel-wise"]
SAMPLES = 16


class Known:
    """A probe of two errors a product, which add up: `effects` of kernel-wise rounding, beside `noise` of a sample."""

    def __init__(self, effects: Sequence[float], spread: float = 0.0) -> None:
        self.effects, self.asked = effects, list[str]()
        self.samples = [SimpleNamespace(fold=place // 4) for place in range(SAMPLES)]
        self.noise = spread * np.random.default_rng(2).standard_normal((len(effects), SAMPLES))

    def errors(self, way: Sequence[str]) -> Iterator[float]:
        taken = [name == "kernel-wise" for name in way]
        for place in range(SAMPLES):
            self.asked.append("".join(name[0] for name in way))
            moved = sum(self.effects[one] + self.noise[one, place] for one, is_taken in enumerate(taken) if is_taken)
            yield 1.0 + float(moved)


def found(probe: Known, start: Sequence[str], groups: Any = None, names: Any = None) -> SettledWay:
    count = len(probe.effects)
    groups = groups or [[place] for place in range(count)]
    return settled(cast(ResultProbe, probe), list(start), groups, names or [NAMES] * count)


def test_each_product_gets_what_leaves_most_of_the_results() -> None:
    result = found(Known([-0.2, 0.1, -0.1]), ["nearest"] * 3)
    assert result.way == ["kernel-wise", "nearest", "kernel-wise"]
    assert set(result.swayed) == {0, 2} and all(after > before for before, after in result.swayed.values())


def test_what_comes_and_goes_with_the_samples_is_not_followed() -> None:
    """The mean of the difference is less than two of its standard errors."""
    start = ["nearest"] * 3
    assert found(Known([-0.01, 0.0, 0.01], spread=1.0), start) == SettledWay(start, {})


def test_products_by_the_same_weights_change_together() -> None:
    result = found(Known([-0.3, 0.1]), ["nearest"] * 2, groups=[[0, 1]])
    assert result.way == ["kernel-wise", "kernel-wise"]


def test_a_product_keeps_to_the_rounders_that_it_has() -> None:
    result = found(Known([-0.3, -0.3]), ["nearest"] * 2, names=[["nearest"], NAMES])
    assert result.way == ["nearest", "kernel-wise"]


def test_a_change_that_is_worse_on_the_first_fold_is_not_run_on_the_others() -> None:
    probe = Known([0.1])
    found(probe, ["nearest"])
    assert probe.asked == ["n"] * SAMPLES + ["k"] * 4 * 2  # for all, and for itself: the first fold of four


def test_a_product_that_comes_back_to_where_it_began_was_not_swayed() -> None:
    """All in one are better than none, and the first of them alone is worse."""
    result = found(Known([0.1, -0.5]), ["nearest"] * 2)
    assert result.way == ["nearest", "kernel-wise"] and set(result.swayed) == {1}


@pytest.mark.parametrize(("gain", "taken"), [(CLEARLY * 1.01, True), (CLEARLY * 0.99, False)])
def test_clearly_is_two_standard_errors_of_the_difference(gain: float, taken: bool) -> None:
    spread = np.resize([1.0, -1.0], 16)
    error = spread.std(ddof=1) / 4
    before = np.full(16, 10.0)
    assert (better(before, iter(before - gain * error - spread), 8) is not None) == taken


def test_errors_that_are_no_numbers_are_not_taken() -> None:
    assert better(np.ones(8), iter([np.nan] * 8), 2) is None
    assert better(np.ones(8), iter([0.1] * 7 + [np.nan]), 2) is None


def test_there_are_no_more_runs_than_foreseen() -> None:
    probe = Known([-0.2, 0.1, -0.1])
    found(probe, ["nearest"] * 3)
    assert len(probe.asked) <= SAMPLES * trials([NAMES] * 3)
