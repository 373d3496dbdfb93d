"""Codes of four bits lie two to a byte, 8 added, and come out as they went in."""

import numpy as np
import pytest

from bevel.backends.encodings.nibbles import pack_nibbles, unpack_nibbles


def test_the_first_code_is_the_low_half_and_the_least_one_is_zero() -> None:
    assert pack_nibbles(np.array([-8, 7, 0, -1], np.int8)).tolist() == [0xF0, 0x78]


@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_codes_come_back(count: int) -> None:
    codes = np.random.default_rng(count).integers(-8, 8, count).astype(np.int8)
    packed = pack_nibbles(codes)
    assert packed.size == -(-count // 2)
    np.testing.assert_array_equal(unpack_nibbles(packed, count), codes)


def test_what_four_bits_do_not_hold_wraps_around() -> None:
    np.testing.assert_array_equal(unpack_nibbles(pack_nibbles(np.array([8, -9])), 2), [-8, 7])
