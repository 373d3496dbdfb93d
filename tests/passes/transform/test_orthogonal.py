"""Orthogonal matrices are orthogonal, Hadamard's have entries of one size, and means are kept where they must be."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.passes.transform.orthogonal import (
    hadamard,
    keeping_mean,
    principal,
    spreading,
)

RNG = np.random.default_rng(2)


@pytest.mark.parametrize(
    "n", [1, 2, 4, 8, 12, 16, 20, 24, 28, 36, 40, 48, 52, 60, 64, 76, 92, 100, 116, 144, 172, 192, 688, 768]
)
def test_hadamard_matrices(n: int) -> None:
    """Sylvester's, Paley's of both kinds (12 = 11 + 1, 36 = 2 (17 + 1)), Williamson's (172 = 4 x 43), and products."""
    found = hadamard(n)
    assert found is not None and set(np.unique(found)) <= {-1.0, 1.0}
    np.testing.assert_array_equal(found @ found.T, n * np.eye(n))


@pytest.mark.parametrize("n", [3, 6, 10, 156])  # no multiples of 4, and one that no construction here gives
def test_where_there_is_none(n: int) -> None:
    assert hadamard(n) is None


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 17, 43, 64, 172])
@pytest.mark.parametrize("seed", [0, 1])
def test_spreading_matrices_are_orthogonal_and_repeat(n: int, seed: int) -> None:
    found = spreading(n, seed)
    np.testing.assert_allclose(found @ found.T, np.eye(n), atol=1e-12)  # float64 sums of n terms
    np.testing.assert_array_equal(found, spreading(n, seed))
    kept = keeping_mean(found)
    np.testing.assert_allclose(kept @ kept.T, np.eye(n), atol=1e-12)
    np.testing.assert_allclose(kept @ np.ones(n), np.ones(n), atol=1e-12)


def test_principal_axes_are_sorted_and_their_signs_repeat() -> None:
    x = RNG.standard_normal((400, 6)) * [1, 5, 2, 1, 1, 1]
    axes = principal(x.T @ x)
    assert np.abs(axes[:, 0]).argmax() == 1 and np.abs(axes[:, 1]).argmax() == 2
    assert (axes[np.abs(axes).argmax(0), range(6)] > 0).all()
