"""Codes of any width take that many bits, and come back as they were."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.backends.encodings.planes import LANES, UNIT, blocks_of, pack_planes, units_of, unpack_planes


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize(("k", "n"), [(32, 16), (33, 17), (5, 40), (96, 1)])
def test_codes_come_back(bits: int, k: int, n: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits, (k, n))
    packed = pack_planes(codes, bits)
    assert packed.shape == (blocks_of(n), units_of(k), bits, LANES)
    assert packed.nbytes * 8 == blocks_of(n) * LANES * units_of(k) * UNIT * bits
    np.testing.assert_array_equal(unpack_planes(packed, k, n), codes)


def test_a_word_holds_eight_neighbouring_inputs_of_an_output_at_four_bits() -> None:
    codes = np.zeros((32, 16), np.int64)
    codes[8:16, 3] = range(1, 9)
    words = pack_planes(codes, 4)
    assert hex(words.view(np.uint32)[0, 0, 1, 3]) == "0x87654321"
    assert np.count_nonzero(words) == 1
