import numpy as np
import pytest

from bevel.calib.formats.coded import Coded, coded
from bevel.calib.formats.scheme import PerBlock


def test_few_values_take_the_shortest_codes_and_come_back() -> None:
    values = np.array([[-12, 0, 3], [12, 3, -12]])
    found = coded(values)
    assert (found.bits, found.table.tolist()) == (2, [-12, 0, 3, 12])
    assert (found.values() == values).all()


def test_one_value_alone_still_has_a_code() -> None:
    assert coded(np.full((2, 2), 7)).bits == 1


def test_more_than_256_values_have_no_codes() -> None:
    with pytest.raises(ValueError, match="257 distinct values"):
        coded(np.arange(257))


def test_factors_multiply_the_elements_of_their_block_and_the_last_block_may_be_short() -> None:
    codes = np.array([[0, 1, 2, 3, 1]], np.uint8)
    table, factors = np.array([-3, 0, 1, 2], np.int32), np.array([1, 4, 16], np.int32)
    found = Coded(codes, 2, table, PerBlock(1, 2), np.array([[2, 0, 1]], np.uint8), factors)
    assert found.values().tolist() == [[-48, 0, 1, 2, 0]]


def test_codes_without_an_entry_are_refused() -> None:
    with pytest.raises(ValueError, match="entry"):
        Coded(
            np.array([3], np.uint8),
            2,
            np.zeros(3, np.int32),
            PerBlock(0, 1),
            np.zeros(1, np.uint8),
            np.ones(1, np.int32),
        )


def test_transposed_codes_are_the_transposed_integers() -> None:
    rng = np.random.default_rng(0)
    codes, block_codes = rng.integers(0, 4, (5, 6, 2)).astype(np.uint8), rng.integers(0, 2, (5, 2, 2)).astype(np.uint8)
    table, factors = np.array([-3, 0, 1, 7], np.int32), np.array([1, 9], np.int32)
    one = Coded(codes, 2, table, PerBlock(-2, 4), block_codes, factors)
    for axes in ((0, 2, 1), (1, 0, 2), (2, 1, 0)):
        np.testing.assert_array_equal(one.transpose(axes).values(), one.values().transpose(axes))
    flat = coded(one.values())
    np.testing.assert_array_equal(flat.transpose((2, 0, 1)).values(), one.values().transpose(2, 0, 1))


def test_integers_taken_keep_their_factors_in_blocks_as_long_as_there_can_be() -> None:
    rng = np.random.default_rng(0)
    codes, block_codes = rng.integers(0, 4, (5, 6)).astype(np.uint8), rng.integers(0, 2, (5, 2)).astype(np.uint8)
    table, factors = np.array([-3, 0, 1, 7], np.int32), np.array([1, 9], np.int32)
    one = Coded(codes, 2, table, PerBlock(1, 4), block_codes, factors)
    places = np.array([3, 0])
    np.testing.assert_array_equal(one.take(places, 0).values(), one.values()[places])
    np.testing.assert_array_equal(coded(one.values()).take(places, 1).values(), one.values()[:, places])
    for taken, size in (([0, 1, 2, 3, 4], 4), ([0, 3, 5], 2), ([1, 4], 1), ([5], 4)):
        found = one.take(np.array(taken), 1)
        assert found.blocks == PerBlock(1, size)
        np.testing.assert_array_equal(found.values(), one.values()[:, taken])
