"""Kronecker products of two matrices: how they act, their inverses, and that learning makes products lose less."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bevel.passes.transform.affine import SINGULAR, Affine, cost_of, factors_of, learned_affine
from bevel.passes.transform.rotate_online import product_error


def drawn(left: int, right: int, seed: int) -> Affine:
    """Near enough to the identity to be invertible."""
    rng = np.random.default_rng(seed)
    return Affine(*(np.eye(n) + rng.uniform(-0.4, 0.4, (n, n)) / n for n in (left, right)))


@given(st.integers(1, 7), st.integers(1, 13), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_two_small_products_are_one_by_the_kronecker_product(left: int, right: int, seed: int) -> None:
    affine, rng = drawn(left, right, seed), np.random.default_rng(seed)
    rows, weights = rng.standard_normal((3, left * right)), rng.standard_normal((left * right, 5))
    np.testing.assert_allclose(affine.of_rows(rows), rows @ affine.matrix, atol=1e-12)  # float64 sums of 91 terms
    np.testing.assert_allclose(affine.matrix @ affine.inverse.matrix, np.eye(left * right), atol=1e-10)
    np.testing.assert_allclose(affine.matrix @ affine.of_weights(weights), weights, atol=1e-10)
    np.testing.assert_allclose(affine.of_rows(rows) @ affine.of_weights(weights), rows @ weights, atol=1e-9)


@pytest.mark.parametrize(
    ("n", "found"), [(64, (8, 8)), (172, (4, 43)), (44, (4, 11)), (63, (7, 9)), (2, (1, 2)), (43, (1, 43)), (1, (1, 1))]
)
def test_factors_are_the_two_nearest_to_each_other(n: int, found: tuple[int, int]) -> None:
    assert factors_of(n) == found


@pytest.mark.parametrize("of_each_row", [False, True])
@pytest.mark.parametrize(("left", "right"), [(3, 5), (1, 7)])
def test_slopes_are_what_the_cost_changes_by(left: int, right: int, of_each_row: bool) -> None:
    affine, rng = drawn(left, right, 3), np.random.default_rng(4)
    rows, weights = rng.standard_normal((20, left * right)), rng.standard_normal((left * right, 6))
    ways = [rng.standard_normal((n, n)) for n in (left, right)]

    def cost(length: float) -> float:
        pairs = zip((affine.left, affine.right), ways, strict=True)
        there = Affine(*(one @ (np.eye(len(one)) + length * way) for one, way in pairs))
        return cost_of(there, rows, weights, (4, 4), of_each_row)[0]

    _, slopes = cost_of(affine, rows, weights, (4, 4), of_each_row)
    expected = sum(float((slope * way).sum()) for slope, way in zip(slopes, ways, strict=True))
    assert (cost(1e-6) - cost(-1e-6)) / 2e-6 == pytest.approx(expected, rel=1e-5)


def test_learning_leaves_less_error_than_channels_as_they_are_and_stays_invertible() -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((256, 24)) * np.where(np.arange(24) % 6 == 1, 9.0, 1.0)
    weights, bits = rng.standard_normal((24, 40)), (4, 4)
    affine = learned_affine(rows, weights, 4, bits, False)
    plain = product_error(rows, rows, weights, bits)
    flat = affine.of_rows(rows)
    assert product_error(flat, flat, affine.of_weights(weights), bits) < plain / 2
    assert max(map(np.linalg.cond, (affine.left, affine.right))) < SINGULAR
    again = learned_affine(rows, weights, 4, bits, False)
    np.testing.assert_array_equal(affine.matrix, again.matrix)


def test_nothing_is_learned_of_nothing() -> None:
    affine = learned_affine(np.zeros((4, 6)), np.ones((6, 2)), 2, (4, 4), False)
    np.testing.assert_array_equal(affine.matrix, np.eye(6))
