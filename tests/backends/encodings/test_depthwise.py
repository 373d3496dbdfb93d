"""Depthwise weights in pairs come back as they were."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.encodings.depthwise import (
    largest_accumulators,
    packed_pairs,
    taps_of_pairs,
    unpacked_pairs,
)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 17), st.sampled_from([1, 2, 4]), st.integers(0, 9))
def test_packed_weights_come_back(channels: int, across: int, along: int, stride: int, seed: int) -> None:
    w = np.random.default_rng(seed).integers(-128, 128, (channels, across, along), dtype=np.int8)
    np.testing.assert_array_equal(unpacked_pairs(packed_pairs(w, stride), along, stride), w)


def test_three_weights_are_one_word_whose_even_and_odd_bytes_are_the_two_pairs() -> None:
    word = packed_pairs(np.array([[[1, -2, 3]]], np.int8), stride=1)
    assert word.shape == (1, 1, 1)
    assert word.astype("<i4").view(np.int8).ravel().tolist() == [1, -2, -2, 3]


def test_with_a_stride_every_weight_is_in_one_pair_only() -> None:
    assert taps_of_pairs(5, stride=2).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_an_accumulator_is_largest_where_every_pixel_agrees_with_its_weight() -> None:
    w, bias = np.array([[[[3], [-5]]], [[[0], [0]]]], np.int8), np.array([-7, 9], np.int32)
    assert largest_accumulators(w, bias).tolist() == [7 + 128 * 8, 9]
