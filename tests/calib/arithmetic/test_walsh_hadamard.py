"""Butterflies equal the matrix, and matrices are recognized by their values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bevel.calib.arithmetic.walsh_hadamard import HadamardBlock, HadamardForm, factored, sylvester, walsh_hadamard

RNG = np.random.default_rng(3)
ONE = np.ones((1, 1), np.int8)
# Paley's of 4, less its first column's signs: no Sylvester matrix
FOUR = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, -1, 1], [1, -1, 1, -1]], np.int8)


def form(*blocks: HadamardBlock) -> HadamardForm:
    return HadamardForm(RNG.choice(np.array([-1, 1], np.int8), sum(one.size for one in blocks)), blocks)


FORMS = {
    "one element": form(HadamardBlock(ONE, 0)),
    "stages alone": form(HadamardBlock(ONE, 6)),
    "a base alone": form(HadamardBlock(FOUR, 0)),
    "both": form(HadamardBlock(FOUR, 3)),
    "blocks": form(HadamardBlock(ONE, 5), HadamardBlock(FOUR, 1), HadamardBlock(ONE, 0)),
}


@pytest.mark.parametrize("name", FORMS)
def test_butterflies_make_the_product_by_the_matrix(name: str) -> None:
    one = FORMS[name]
    x = RNG.integers(-(2**15), 2**15, (2, 3, len(one.signs)))
    np.testing.assert_array_equal(walsh_hadamard(x, one), x @ one.matrix().astype(np.int64))


@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_its_matrix_is_found(name: str) -> None:
    one = FORMS[name]
    sizes = RNG.uniform(0.1, 2, len(one.blocks))
    found = factored((one.matrix() * one.of_blocks(list(sizes))).astype(np.float32))
    assert found is not None
    np.testing.assert_array_equal(found[0].matrix(), one.matrix())
    np.testing.assert_allclose(found[1], sizes, rtol=1e-6)  # float32
    assert [one.stages for one in found[0].blocks] == [one.stages for one in one.blocks]


H8 = sylvester(3).astype(np.float64)
UNEQUAL = H8 * np.where(np.arange(8) == 5, 1.01, 1.0)
FLIPPED = H8 * np.where(np.arange(64).reshape(8, 8) == 9, -1.0, 1.0)
APART = np.kron(H8, np.eye(2))


@pytest.mark.parametrize(
    "matrix", [H8[:, :4], UNEQUAL, FLIPPED, APART, np.eye(17), np.zeros((4, 4)), np.ones((2, 2, 2))]
)
def test_other_matrices_have_none(matrix: Any) -> None:
    """Not square, of two sizes, not orthogonal, interleaved, a diagonal, nothing, no matrix."""
    assert factored(matrix) is None


def test_additions_are_those_of_butterflies_and_bases() -> None:
    assert form(HadamardBlock(ONE, 7), HadamardBlock(FOUR, 1)).additions == 128 * 7 + 8 * (1 + 4)
