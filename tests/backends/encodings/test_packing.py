"""Packing two channels into each halfword, against the plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bevel.backends.encodings import packing
from bevel.backends.encodings.packing import Channels
from bevel.backends.program.op import Array
from bevel.calib.arithmetic.requantize import Output, requantize


def channels(n: int, taps: int, seed: int = 0, shift: int = 40) -> Channels:
    rng = np.random.default_rng(seed)
    return Channels(
        w=rng.integers(-127, 128, (n, taps), dtype=np.int8),
        bias=rng.integers(-(2**15), 2**15, n, dtype=np.int32),
        multiplier=rng.integers(2**30, 2**31, n, dtype=np.int32),
        shift=np.full(n, shift, np.int8),
    )


def halfwords(block: Array, taps: int) -> Array:
    """int16 [pairs of channels, taps] of one block."""
    words = block[packing.HEADER : packing.HEADER + taps].reshape(taps // 2, 2).T
    return np.ascontiguousarray(words).view(np.int16)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 13), st.integers(1, 3), st.integers(0, 2**32), st.integers(-128, 127))
def test_packing_and_unpacking_give_the_channels_back(n: int, eights: int, seed: int, zero_point: int) -> None:
    packed_from = channels(n, 8 * eights, seed)
    packed = packing.pack(packed_from, zero_point)
    found = packing.unpack(packed, n)
    assert packed.shape == (packing.blocks(n), packing.block_words(8 * eights))
    assert packing.zero_point(packed) == zero_point
    for name in ("w", "bias", "multiplier", "shift"):
        np.testing.assert_array_equal(getattr(found, name), getattr(packed_from, name), err_msg=name)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 23))
def test_weights_in_widened_order_come_back(rows: int, elements: int) -> None:
    w = np.random.default_rng(elements).integers(-128, 128, (3, rows, elements), dtype=np.int8)
    taps = packing.padded_taps(2 * packing.row_words(elements) * rows)
    np.testing.assert_array_equal(packing.from_widened_order(packing.in_widened_order(w, taps), rows, elements), w)


def test_widened_order_is_that_of_sxtb16_and_pairs_what_is_left() -> None:
    assert packing.widened_order(4) == [0, 2, 1, 3]
    assert packing.widened_order(7) == [0, 2, 1, 3, 4, 5, 6, -1]
    assert [len(packing.widened_order(elements)) for elements in range(1, 9)] == [2, 2, 4, 4, 6, 6, 8, 8]


def test_two_sums_come_out_of_halfwords_even_where_words_wrap_around() -> None:
    packed_from = channels(4, 64)
    block = packing.pack(packed_from, 0)[0]
    x = np.random.default_rng(1).choice(np.array([-128, 127]), 64)
    for pair, both in enumerate(halfwords(block, 64).astype(np.int64)):
        low = both.astype(np.int8).astype(np.int64)
        c = np.int64(x @ both + 2**31) % 2**32  # as if the sum had wrapped around on its way
        difference = ((c - 2**31 - x @ low + 2**31) % 2**32) - 2**31
        assert x @ low == x @ packed_from.w[2 * pair].astype(np.int64)
        assert difference == 256 * (x @ packed_from.w[2 * pair + 1].astype(np.int64))


def test_the_range_of_sums_is_reached_and_never_left() -> None:
    some = channels(5, 16)
    least, greatest = packing.sum_range(some.w, some.bias)
    for sign, reached in ((1, greatest), (-1, least)):
        x = np.where(sign * some.w > 0, 127, -128)
        np.testing.assert_array_equal((x * some.w.astype(np.int64)).sum(1) + some.bias, reached)


def test_weights_of_minus_128_are_packed_as_long_as_their_halfword_holds_them() -> None:
    some = channels(4, 8)
    some.w[0], some.w[1] = -128, -127
    assert packing.obstacle(some) is None
    np.testing.assert_array_equal(packing.unpack(packing.pack(some, 0), 4).w, some.w)
    some.w[0], some.w[1] = 0, -128
    assert packing.obstacle(some) is None
    some.w[0, 3] = -1
    assert "-128" in (packing.obstacle(some) or "")


def test_sums_that_leave_24_bits_are_an_obstacle_in_odd_channels_only() -> None:
    some = channels(2, 520)
    some.w[0] = 127
    assert packing.obstacle(some) is None
    some.w[1] = 127
    assert "24 bits" in (packing.obstacle(some) or "")


@pytest.mark.parametrize(("channel", "first", "last"), [(0, 33, 55), (1, 25, 47)])
def test_shifts_that_the_upper_word_allows_are_stored(channel: int, first: int, last: int) -> None:
    def stored(shift: int) -> Array | None:
        shifts = np.full(2, 40, np.int8)
        shifts[channel] = shift
        return packing.stored_shifts(shifts)

    assert stored(first - 1) is None and stored(last + 1) is None
    for shift, expected in ((first, 0), (last, packing.LARGEST_SHIFT)):
        found = stored(shift)
        assert found is not None and found[channel] == expected


def test_channels_without_weights_become_a_bias_that_fits() -> None:
    some = channels(6, 8, shift=54)
    some.w[:4] = 0
    some.bias[:4] = (2**28, -(2**28), 2**31 - 1, 1000)
    found = packing.settled(some)
    assert packing.obstacle(found) is None and packing.stored_shifts(found.shift[:4]) is not None
    for zero_point in (-128, 0, 127):
        was, now = (
            requantize(one.bias[:4].astype(np.int64), one.multiplier[:4], one.shift[:4], Output(zero_point))
            for one in (some, found)
        )
        np.testing.assert_array_equal(now, was)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32), st.integers(25, 62), st.integers(-128, 127), st.booleans())
def test_settling_changes_no_output(seed: int, shift: int, zero_point: int, wide: bool) -> None:
    output = Output(257 * zero_point, -(2**15), 2**15 - 1, "int16") if wide else Output(zero_point)
    rng = np.random.default_rng(seed)
    some = channels(6, 8, seed, shift)
    some.bias[:] = rng.integers(-(2**30), 2**30, 6) >> rng.integers(0, 28, 6)
    found = packing.settled(some, output)
    for x in (*rng.integers(-128, 128, (4, 8)), np.full(8, -128), np.full(8, 127)):
        was, now = (
            requantize(one.w.astype(np.int64) @ x + one.bias, one.multiplier, one.shift, output)
            for one in (some, found)
        )
        np.testing.assert_array_equal(now, was)


@settings(deadline=None, max_examples=200)
@given(
    st.integers(-(2**23), 2**23 - 1),
    st.integers(2**30, 2**31 - 1),
    st.integers(33, 47),
    st.integers(-128, 127),
    st.booleans(),
)
def test_what_a_block_stores_requantizes_as_the_definition(
    total: int, multiplier: int, shift: int, zero_point: int, odd: bool
) -> None:
    stored = shift - (25 if odd else 33)
    upper = ((total << (8 if odd else 0)) * multiplier >> 32) + ((2 * zero_point + 1) << stored)
    assert -(2**31) <= upper < 2**31
    expected = requantize(np.array([total]), np.array([multiplier]), np.array([shift]), Output(zero_point))
    assert int(np.clip(upper >> stored >> 1, -128, 127)) == expected[0]
