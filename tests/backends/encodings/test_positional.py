"""Packing several channels of two to four bits into each halfword, against the plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.encodings import positional
from bevel.backends.program.op import Array

BITS = st.sampled_from([*positional.CHANNELS])


def channels(n: int, taps: int, bits: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    half = 2 ** (bits - 1)
    return rng.integers(-half, half, (n, taps), dtype=np.int8), rng.integers(-(2**10), 2**10, n, dtype=np.int32)


def wrapped(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


@given(BITS, st.integers(1, 19), st.integers(1, 3), st.integers(0, 2**32))
def test_packing_and_unpacking_give_the_channels_back(bits: int, n: int, eights: int, seed: int) -> None:
    w, bias = channels(n, 8 * eights, bits, seed)
    packed = positional.pack(w, bias, bits)
    assert packed.shape == (positional.blocks(n, bits), positional.block_words(8 * eights, bits))
    for found, expected in zip(positional.unpack(packed, n, bits), (w, bias), strict=True):
        np.testing.assert_array_equal(found, expected)


@given(BITS, st.integers(0, 2**32))
def test_masks_and_differences_bring_out_each_channel(bits: int, seed: int) -> None:
    n = positional.CHANNELS[bits]
    w, bias = channels(n, 64, bits, seed)
    x = np.random.default_rng(seed).integers(-128, 128, 64)
    assert positional.obstacle(w, bias, bits) is None
    block = positional.pack(w, bias, bits)[0]
    halfwords = np.ascontiguousarray(block[n:]).view(np.int16).astype(np.int64)
    moved, before = -int(x.sum()) * 2 ** (bits - 1), 0
    start = 0
    for j in range(n):
        last = j == n - 1
        start += 0 if last else moved << bits * j
        c = int(block[j]) + start + int(x @ (halfwords if last else halfwords & (2 ** (bits * (j + 1)) - 1)))
        assert wrapped(c - before) == (int(x @ w[j].astype(np.int64)) + int(bias[j])) << bits * j
        before = c


@pytest.mark.parametrize("bits", positional.CHANNELS)
def test_the_last_channel_of_a_block_has_the_least_room(bits: int) -> None:
    n = positional.CHANNELS[bits]
    w, bias = np.zeros((n, 8), np.int8), np.zeros(n, np.int32)
    limit = 2 ** (31 - bits * (n - 1))
    bias[-1] = limit - 1
    assert positional.obstacle(w, bias, bits) is None
    bias[-1] = limit
    assert "place in a word" in str(positional.obstacle(w, bias, bits))
    bias[-1], bias[-2] = 0, limit
    assert positional.obstacle(w, bias, bits) is None


def test_weights_beyond_the_bits_are_refused() -> None:
    assert "no 4 bits" in str(positional.obstacle(np.full((1, 8), 8, np.int8), np.zeros(1, np.int32), 4))
