"""Weights as short codes: what they mean, and that they take as few bits as there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bevel.backends.encodings import coded
from bevel.backends.encodings.coded import CodedWeights, Coding
from bevel.backends.program.op import Array
from bevel.calib.formats.coded import Coded, counted
from bevel.calib.formats.format import parse
from bevel.calib.formats.levels import integer_levels
from bevel.calib.formats.scheme import PerBlock, PerTensor


def meaning(stored: CodedWeights) -> Array:
    return stored.coding.decode(stored.codes, stored.table)


@settings(deadline=None)
@given(st.lists(st.integers(-128, 127), min_size=1, max_size=60))
def test_shortest_codes_mean_the_integers_they_came_from(values: list[int]) -> None:
    weights = np.array(values, np.int8)
    stored = coded.shortest(weights, counted(weights))
    np.testing.assert_array_equal(meaning(stored), weights)
    assert len(set(values)) <= 2**stored.coding.bits
    assert int(stored.codes.max()) < 2**stored.coding.bits


@pytest.mark.parametrize(
    ("name", "bits", "tabled"),
    [
        ("binary", 1, False),
        ("ternary", 2, False),
        ("int2", 2, False),
        ("int3", 3, False),
        ("int4", 4, False),
        ("int5", 5, False),
        ("int6", 6, False),
        ("int7", 7, False),
        ("e2m1", 4, True),
        ("e2m3", 6, True),
    ],
)
def test_every_narrow_format_takes_its_own_bits(name: str, bits: int, tabled: bool) -> None:
    known = parse(name)
    levels = integer_levels(known)
    values = known.values() if levels is None else np.array(levels.steps)
    coding = coded.shortest(values.astype(np.int64), counted(values)).coding
    assert (coding.bits, coding.tabled, coding.dtype) == (bits, tabled, "int8")


def test_more_than_256_values_take_no_table() -> None:
    values = np.arange(-2000, 2000)
    stored = coded.shortest(values, counted(values))
    assert stored.coding == Coding(12, "int16")
    np.testing.assert_array_equal(meaning(stored), values)


def test_256_wide_values_take_a_table_of_their_type() -> None:
    values = 7001 * np.arange(-100, 101)
    stored = coded.shortest(values, counted(values))
    assert stored.coding == Coding(8, "int32", tabled=True)
    np.testing.assert_array_equal(meaning(stored), values)


def test_values_that_are_too_many_and_too_wide_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit codes of 8 bits"):
        coded.shortest(1001 * np.arange(300), 1001 * np.arange(300))


def in_blocks(table: list[int], axis: int = -1) -> Coded:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, len(table), (3, 2, 2, 40)).astype(np.uint8)
    return Coded(
        codes,
        4,
        np.array(table, np.int32),
        PerBlock(axis, 16),
        rng.integers(0, 3, (3, 2, 2, 3)).astype(np.uint8),
        np.array([1, 6, 500], np.int32),
    )


def test_blocks_keep_their_codes_and_factors() -> None:
    given = in_blocks([0, 1, 2, 3, 4, 6, 8, 12, -1, -2, -3, -4, -6, -8, -12])
    stored = coded.of_coded(given)
    assert stored.coding == Coding(4, "int16", tabled=True, block=16, factors=4)
    assert stored.table is not None and stored.block_table is not None and stored.block_codes is not None
    factors = stored.block_table.astype(np.int64)[stored.block_codes].repeat(16, axis=3)[..., :40]
    np.testing.assert_array_equal(meaning(stored) * factors, given.values())


def test_blocks_of_plain_integers_take_no_table_for_elements() -> None:
    stored = coded.of_coded(in_blocks(list(range(-7, 8))))
    assert stored.coding == Coding(4, "int16", tabled=False, block=16, factors=4)


@pytest.mark.parametrize(("first", "zeros", "dtype"), [(0, (-8, 3, 7), "int8"), (100, (115, 120, 200), "int16")])
def test_blocks_keep_their_zero_points_in_a_type_that_holds_them(
    first: int, zeros: tuple[int, ...], dtype: str
) -> None:
    blocks = in_blocks([*range(first, first + 8)])
    given = replace(blocks, block_table=np.ones(3, np.int32), block_zeros=np.array(zeros, np.int32))
    assert abs(given.values()).max() < 128
    stored = coded.of_coded(given)
    assert stored.coding.zeros and stored.coding.dtype == dtype
    np.testing.assert_array_equal(stored.values(), given.values())


def test_blocks_along_another_axis_are_refused() -> None:
    given = in_blocks([-1, 1])
    swapped = Coded(
        given.codes.T.copy(), 4, given.table, PerBlock(0, 16), given.block_codes.T.copy(), given.block_table
    )
    with pytest.raises(ValueError, match="along the input channels"):
        coded.of_coded(swapped)


def test_a_format_s_own_codes_stay_where_they_need_a_table() -> None:
    table = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int32)  # E2M1 has two zeros
    codes = np.arange(16, dtype=np.uint8)
    stored = coded.of_coded(Coded(codes, 4, table, PerTensor(), np.zeros((), np.uint8), np.ones(1, np.int32)))
    np.testing.assert_array_equal(stored.codes, codes)
    np.testing.assert_array_equal(meaning(stored), table)


@settings(deadline=None)
@given(st.integers(1, 16), st.integers(1, 3), st.integers(1, 40), st.integers(0, 2**32))
def test_packing_and_unpacking_give_the_codes_back(bits: int, runs: int, count: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2**bits, (runs, count))
    packed = coded.pack(codes, bits)
    assert packed.shape == (runs, coded.packed_bytes(count, bits))
    np.testing.assert_array_equal(coded.unpack(packed, count, bits), codes)
