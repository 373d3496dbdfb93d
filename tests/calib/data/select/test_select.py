"""Each rule: so many places, ascending, of the samples that its idea names, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.calib.data.select import rule, rule_names
from bevel.calib.data.select.density import RULE as DENSITY
from bevel.calib.data.select.entropy import RULE as ENTROPY
from bevel.calib.data.select.filtered import RULE as FILTERED
from bevel.calib.data.select.filtered import in_turn, within

RNG = np.random.default_rng(1)
MANY = RNG.standard_normal((60, 5)) * [3, 1, 1, 0, 1e-3] + 1


@pytest.mark.parametrize("name", rule_names())
@pytest.mark.parametrize("count", [1, 7, 59])
def test_as_many_places_as_asked_ascending_and_the_same_again(name: str, count: int) -> None:
    found = rule(name)(MANY, count, seed=3)
    assert len(found) == len(set(found)) == count and list(found) == sorted(found)
    assert found[0] >= 0 and found[-1] < len(MANY)
    assert found == rule(name)(MANY, count, seed=3)


@pytest.mark.parametrize("name", rule_names())
@pytest.mark.parametrize("vectors", [np.zeros((9, 4)), np.ones((9, 1)), np.eye(9), 1e200 * np.eye(9)])
def test_samples_that_are_all_alike_or_all_unlike_can_be_chosen_from(name: str, vectors: np.ndarray) -> None:
    assert len(rule(name)(vectors, 4)) == 4


@pytest.mark.parametrize("name", rule_names())
def test_no_more_than_there_are_are_all(name: str) -> None:
    assert rule(name)(MANY, 60) == rule(name)(MANY, 100) == tuple(range(60))


@pytest.mark.parametrize("name", rule_names())
def test_a_seed_matters_where_a_rule_says_so(name: str) -> None:
    assert (len({rule(name)(MANY, 20, seed) for seed in range(6)}) > 1) == rule(name).draws


def test_entropy_takes_what_lies_outside_in_the_units_of_each_direction() -> None:
    vectors = RNG.standard_normal((200, 3)) * [100, 1, 0.01]
    vectors[17] = [0, 0, 0.1]  # ten deviations, and the shortest of all
    assert 17 in ENTROPY(vectors, 5)


def test_density_takes_no_loner() -> None:
    vectors = np.concatenate([RNG.standard_normal((30, 4)) * 0.1 + [1, 0, 0, 0], 50 * np.eye(4)[:1]])
    assert 30 not in DENSITY(vectors, 10)


def test_what_is_filtered_has_no_outlier_and_some_of_each_kind() -> None:
    centres = np.repeat(5.0 * np.eye(5), 12, axis=0)
    vectors = np.concatenate([centres + 0.01 * RNG.standard_normal((60, 5)), np.full((1, 5), 90.0)])
    found = FILTERED(vectors, 10)
    assert 60 not in found
    assert sorted(place // 12 for place in found) == [kind for kind in range(5) for _ in range(2)]
    more = np.concatenate([vectors, vectors[60:]])
    assert len({60, 61} & set(FILTERED(more, 61))) == 1  # no others are left


def test_quartiles_bound_what_is_usual() -> None:
    np.testing.assert_array_equal(within(np.array([0.0, 1, 2, 3, 4, 9, -5]), 1.5), [1, 1, 1, 1, 1, 0, 0])


def test_kinds_are_taken_in_turn() -> None:
    assert list(in_turn([np.array([1, 2, 3]), np.array([7]), np.array([8, 9])])) == [1, 7, 8, 2, 9, 3]
