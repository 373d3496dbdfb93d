"""Weights of fewer than eight bits as words of codes, and which codes suit them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.encodings import subbyte
from bevel.backends.encodings.subbyte import SubbyteCodes, codes_for
from bevel.calib.formats.coded import counted

E2M1 = np.array([0, 1, 2, 3, 4, 6, 8, 12])


@given(st.integers(1, 7), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32))
def test_codes_come_back_from_as_many_words_as_they_have_bits(bits: int, rows: int, units: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2**bits, (rows, 8 * units, 4), dtype=np.uint8)
    stored = subbyte.pack(codes, bits)
    assert (stored.shape, stored.dtype) == ((rows, units * bits), np.int32)
    np.testing.assert_array_equal(subbyte.unpack(stored, bits), codes)


def test_two_codes_that_are_looked_up_at_once_share_a_byte() -> None:
    codes = np.random.default_rng(0).integers(0, 16, (3, 16, 4), dtype=np.uint8)
    stored = SubbyteCodes(4, tabled=True).pack(codes)
    assert stored.shape == (3, 8)
    assert int(stored[0, 0]) & 0xFF == codes[0, 0, 0] | codes[0, 0, 1] << 4
    np.testing.assert_array_equal(SubbyteCodes(4, tabled=True).unpack(stored), codes)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (np.arange(-8, 8), SubbyteCodes(4, least=-8)),
        (np.arange(-7, 8), SubbyteCodes(4, least=-8)),
        (np.array([-1, 0, 1]), SubbyteCodes(2, least=-2)),
        (np.array([-3, 3]), SubbyteCodes(1, stride=6, least=-3)),
        (np.array([-128, -64, 0, 64]), SubbyteCodes(2, stride=64, least=-128)),
        (np.arange(-1, 14), SubbyteCodes(4, least=-1)),
        (np.array([0, 5]), SubbyteCodes(1, stride=5, least=0)),
        (np.arange(-60, 61), SubbyteCodes(7, least=-64)),
        (np.append(-E2M1, E2M1), SubbyteCodes(4, tabled=True)),
        (np.array([-127, -2, -1, 0, 1, 2, 127]), SubbyteCodes(3, tabled=True)),
    ],
)
def test_the_shortest_codes_are_found(levels: np.ndarray, expected: SubbyteCodes) -> None:
    assert codes_for(np.resize(levels, 4000).astype(np.int8), counted(levels)) == expected


def test_a_single_value_takes_one_bit() -> None:
    assert codes_for(np.full(1000, -7, np.int8), np.array([-7])) == SubbyteCodes(1, least=-7)


@given(st.integers(0, 2**32), st.integers(1, 7), st.integers(1, 40))
def test_values_come_back_from_their_codes(seed: int, bits: int, step: int) -> None:
    rng = np.random.default_rng(seed)
    levels = np.clip(rng.integers(-128, 127) + step * np.arange(2**bits), -128, 127)
    values = rng.choice(levels, 8000).astype(np.int8)
    codes = codes_for(values, counted(values))
    assert isinstance(codes, SubbyteCodes) and codes.bits <= bits
    found, table = codes.of(values)
    assert found.max() < 2**codes.bits and table.size == codes.table_bytes
    np.testing.assert_array_equal(codes.values(found, table), values)


@pytest.mark.parametrize(
    "values", [np.arange(-128, 128), np.resize(np.arange(-8, 8), 200), np.resize(np.arange(-127, 128, 3), 700)]
)
def test_weights_that_codes_hardly_shrink_stay_as_they_are(values: np.ndarray) -> None:
    assert "no smaller as codes" in str(codes_for(values.astype(np.int8), counted(values)))
