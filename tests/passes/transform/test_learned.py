"""Learned rotations: gradients in closed form are those of differences, steps stay orthogonal and lower the cost."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.passes.transform.learned import ReachCost, Read, cayley, cost_of, learned, without_mean
from bevel.passes.transform.orthogonal import keeping_mean, spreading

SIZE, BITS = 8, (4, 4)
RNG = np.random.default_rng(4)
READS = [
    Read(RNG.standard_normal((40, SIZE)) * np.geomspace(0.1, 5, SIZE), RNG.standard_normal((6, SIZE))),
    Read(RNG.laplace(size=(30, SIZE)), RNG.laplace(size=(9, SIZE)) * np.where(np.arange(SIZE) == 3, 8, 1)),
]
GIVEN = ReachCost(READS, [RNG.laplace(size=(12, SIZE)) * np.geomspace(0.5, 3, SIZE)], BITS)


def test_the_gradient_is_that_of_small_differences() -> None:
    rotation = spreading(SIZE, 0)
    _, gradient = cost_of(rotation, GIVEN)
    for row, column in ((0, 0), (3, 5), (7, 2)):
        step = np.zeros((SIZE, SIZE))
        step[row, column] = 1e-6
        up, down = (cost_of(rotation + sign * step, GIVEN)[0] for sign in (1, -1))
        # central differences of 1e-6 are good to about 1e-6 of the gradient here
        assert gradient[row, column] == pytest.approx((up - down) / 2e-6, rel=1e-4)


@pytest.mark.parametrize("keeps_mean", [False, True])
def test_what_is_learned_is_orthogonal_and_costs_less(keeps_mean: bool) -> None:
    start = spreading(SIZE, 1)
    start = keeping_mean(start) if keeps_mean else start
    found = learned(start, GIVEN, keeps_mean, steps=60)
    np.testing.assert_allclose(found @ found.T, np.eye(SIZE), atol=1e-12)
    if keeps_mean:
        np.testing.assert_allclose(found @ np.ones(SIZE), np.ones(SIZE), atol=1e-10)
    assert cost_of(found, GIVEN)[0] < 0.95 * cost_of(start, GIVEN)[0]


def test_steps_of_skew_matrices_without_a_mean_keep_it() -> None:
    skew = without_mean(np.triu(RNG.standard_normal((SIZE, SIZE)), 1))
    skew = skew - skew.T
    np.testing.assert_allclose(cayley(skew) @ np.ones(SIZE), np.ones(SIZE), atol=1e-12)
