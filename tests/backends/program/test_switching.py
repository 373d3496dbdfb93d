"""Weights of eight bits round to fewer, wherever a kernel packs them; what is no rounding is told apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Buffer, Call, Program
from bevel.backends.program.switching import LANES, PAIR, rounded, switchable, switched
from bevel.calib.arithmetic.requantize import Output

WIDTHS = (7, 6, 5, 4, 3, 2)
WEIGHTS = hnp.arrays(np.int8, st.integers(1, 40), elements=st.integers(-127, 127))


@given(weights=WEIGHTS, bits=st.sampled_from(WIDTHS))
def test_a_weight_becomes_the_nearest_of_fewer_bits_on_its_own_scale(weights, bits) -> None:
    step, high = 2 ** (8 - bits), 2 ** (bits - 1) - 1
    expected = np.clip(np.floor(weights / step + 0.5), -high, high) * step
    np.testing.assert_array_equal(rounded(weights, bits), expected)
    assert rounded(weights, bits).dtype == np.int8


@given(weights=WEIGHTS, bits=st.sampled_from(WIDTHS))
def test_rounding_again_changes_nothing_and_keeps_the_order(weights, bits) -> None:
    once = rounded(np.sort(weights), bits)
    np.testing.assert_array_equal(rounded(once, bits), once)
    assert (np.diff(once.astype(int)) >= 0).all()


def test_eight_bits_are_the_weights_themselves() -> None:
    weights = np.arange(-128, 128, dtype=np.int8)
    assert rounded(weights, 8) is weights


def packed(weights: np.ndarray, lane: str) -> np.ndarray:
    """Weights, an even number, as a kernel might pack them, with a word of its own in front."""
    if lane == PAIR:
        halfwords = 256 * weights[1::2].astype(np.int32) + weights[0::2]
        body = halfwords.astype(np.int16)
    else:
        body = weights.astype(lane)
    padded = np.pad(body.view(np.int8), (0, -body.nbytes % 4)).view(np.int32)
    return np.concatenate([[weights.astype(np.int64).sum() * 1000003 % 2**31], padded]).astype(np.int32)


@pytest.mark.parametrize("lane", LANES)
@given(weights=hnp.arrays(np.int8, st.sampled_from([8, 24, 40]), elements=st.integers(-120, 120)))
def test_packed_weights_are_rounded_where_they_lie_and_the_rest_is_kept_in_tables(lane, weights) -> None:
    full = packed(weights, lane)
    narrower = {bits: packed(rounded(weights, bits), lane) for bits in (6, 4, 2)}
    change = switched(full, narrower)
    if change is None:
        assert all(np.array_equal(full, one) for one in narrower.values())
        return
    assert change.lane is not None and change.values.shape[1] <= 1 + weights.size // 4
    for row, (bits, expected) in enumerate(narrower.items()):
        np.testing.assert_array_equal(change.apply(full, bits, row), expected)


def test_weights_whose_exceptions_all_stay_as_they_are_need_no_table() -> None:
    weights = np.array([20, -119, 99, 0, 0, 0, 0, 0], np.int8)
    full = packed(weights, "int8")
    narrower = {bits: packed(rounded(weights, bits), "int8") for bits in (6, 4, 2)}
    change = switched(full, narrower)
    assert change is not None
    for row, (bits, expected) in enumerate(narrower.items()):
        np.testing.assert_array_equal(change.apply(full, bits, row), expected)


def test_what_is_the_same_at_every_width_is_kept_and_not_stored_again() -> None:
    rng = np.random.default_rng(2)
    weights = rng.integers(-120, 121, (3, 16)).astype(np.int8)
    scales, biases = rng.integers(2**29, 2**30, (3, 1)), {bits: rng.integers(0, 2**20, (3, 1)) for bits in (8, 4, 2)}
    blocks = {
        bits: np.concatenate([biases[bits], rounded(weights, bits).view(np.int32), scales], axis=1).astype(np.int32)
        for bits in biases
    }
    change = switched(blocks[8], {4: blocks[4], 2: blocks[2]})
    assert change is not None and (change.period, list(change.kept), list(change.changed)) == (6, [5], [0])
    np.testing.assert_array_equal(change.apply(blocks[8], 2, 1), blocks[2])


def test_what_is_no_rounding_at_all_is_a_table() -> None:
    rng = np.random.default_rng(0)
    biases = {bits: rng.integers(-(2**20), 2**20, 8).astype(np.int32) for bits in (8, 4, 2)}
    change = switched(biases[8], {4: biases[4], 2: biases[2]})
    assert change is not None and change.lane is None
    np.testing.assert_array_equal(change.values, np.stack([biases[4], biases[2]]))


def product(weights: np.ndarray, zero_point: int = 3) -> Program:
    kernel = Gemm(1, 4, 2, Output(zero_point))
    constants = (weights, np.zeros(2, np.int32), np.full(2, 2**30, np.int32), np.full(2, 33, np.int8))
    call = Call("fc", kernel, ("x",), constants, "y")
    return Program("m", (), (), {name: Buffer(name, (4,), "int8") for name in "xy"}, (call,))


def test_programs_that_differ_in_more_than_constants_are_a_bug() -> None:
    weights = np.arange(8, dtype=np.int8).reshape(2, 4)
    with pytest.raises(ValueError, match="not the same call"):
        switchable(product(weights), {4: product(rounded(weights, 4), zero_point=4)})


def test_calls_without_weights_of_their_own_stay_as_they_are() -> None:
    weights = np.zeros((2, 4), np.int8)
    found = switchable(product(weights), {4: product(weights)})
    assert found.widths == (8, 4) and not found.calls[0].narrower
