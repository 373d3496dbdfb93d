"""Depthwise weights in pairs come back as they were, and ratios are only changed where no result can tell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.depthwise import (
    largest_accumulators,
    needed_raise,
    packed_pairs,
    taps_of_pairs,
    unpacked_pairs,
    without_dead_channels,
)
from bevel.backends.dsp import LEAST_SHIFT, MOST_SHIFT
from bevel.calib.arithmetic import Output, requantize

ZERO_WEIGHTS = np.zeros((1, 1, 1, 1), np.int8)


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


@given(st.integers(33, 62), st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(-127, 127))
def test_a_channel_is_called_dead_only_if_its_extremes_are_rescaled_to_zero(
    shift: int, multiplier: int, bias: int, weight: int
) -> None:
    w, biases = np.full((1, 1, 1, 1), weight, np.int8), np.array([bias % 2**30], np.int32)
    given_pair = np.array([multiplier], np.int32), np.array([shift], np.int8)
    changed_pair = without_dead_channels(w, biases, *given_pair)
    bound = int(largest_accumulators(w, biases)[0])
    extremes = np.array([-bound, -1, 0, 1, bound])
    np.testing.assert_array_equal(
        requantize(extremes, *given_pair, Output(-7)), requantize(extremes, *changed_pair, Output(-7))
    )
    assert changed_pair[0][0] in (0, multiplier)


def test_a_ratio_of_nearly_nothing_is_dead() -> None:
    multiplier, shift = without_dead_channels(
        ZERO_WEIGHTS, np.array([1000], np.int32), np.array([2**30], np.int32), np.array([62], np.int8)
    )
    assert (int(multiplier[0]), int(shift[0])) == (0, LEAST_SHIFT)


def raise_for(*shifts: int, bias: int = 2**26) -> int | str:
    count = len(shifts)
    biases, multipliers = np.full(count, bias, np.int32), np.full(count, 2**31 - 1, np.int32)
    return needed_raise(np.zeros((count, 1, 1, 1), np.int8), biases, multipliers, np.array(shifts, np.int8))


@pytest.mark.parametrize(("shifts", "raised"), [((33, 40), 0), ((32, 33), 1), ((30,), 3), ((33, MOST_SHIFT), 0)])
def test_accumulators_are_raised_until_the_smallest_shift_is_33(shifts: tuple[int, ...], raised: int) -> None:
    assert raise_for(*shifts) == raised


def test_ratios_too_far_apart_have_no_common_raise() -> None:
    assert raise_for(32, MOST_SHIFT) == "the output scales of its channels are too far apart"


def test_an_accumulator_that_would_overflow_is_not_raised() -> None:
    assert raise_for(28, bias=2**26 - 1) == 5
    assert raise_for(28, bias=2**26) == "an accumulator may be too large for a ratio above 1/4"
