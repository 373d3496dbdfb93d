"""Integers as bit planes: there and back, counted, and added before they are counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bevel.backends.encodings.bitplanes import StridedCodes, added, codes_for, integers_of, planes_of, values_kept
from bevel.calib.formats.coded import counted

WORD = 32
pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**WORD - 1)), min_size=1, max_size=60)


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 3), st.integers(1, 150)), elements=st.integers(0, 255)))
def test_planes_give_back_their_integers(values: np.ndarray) -> None:
    for word in (32, 64):
        planes = planes_of(values, 8, word)
        assert planes.dtype.itemsize * 8 == word
        np.testing.assert_array_equal(integers_of(planes, values.shape[1]), values)


@given(pairs)
def test_added_words_keep_the_total_of_their_bits(words: list[tuple[int, int]]) -> None:
    kept: list[int] = []

    def keep(value: int) -> int:
        kept.append(value)
        return value

    result = added(words, keep)
    assert len({level for level, _ in result}) == len(result)
    weighed = sum(word.bit_count() << level for level, word in result)
    assert weighed == sum(word.bit_count() << level for level, word in words)
    assert len(kept) == values_kept(level for level, _ in words)


@given(
    hnp.arrays(np.int64, st.integers(1, 100), elements=st.integers(-128, 127)),
    st.integers(1, 2),
    st.integers(-4, 4),
    st.integers(1, 5),
    st.data(),
)
def test_counts_of_planes_are_the_products(
    x: np.ndarray, bits: int, base: int, stride: int, data: st.DataObject
) -> None:
    found = StridedCodes(bits, base, stride)
    codes = data.draw(hnp.arrays(np.int64, x.shape, elements=st.integers(0, 2**bits - 1)))
    weights, low = found.weights(codes), int(x.min())
    u, c = planes_of(x - low, 8, WORD), planes_of(codes, bits, WORD)
    counts = sum(int(np.bitwise_count(u[:, i] & c[:, j]).sum()) << (i + j) for i in range(8) for j in range(bits))
    total = low * int(weights.sum()) + base * int((x - low).sum()) + stride * counts
    assert total == int((x * weights).sum())


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([-1, 1], StridedCodes(1, -1, 2)),
        ([-1, 0, 1], StridedCodes(2, -1, 1)),
        ([-2, -1, 0, 1], StridedCodes(2, -2, 1)),
        ([-9, -3, 3, 9], StridedCodes(2, -9, 6)),
        ([5, 5, 5], StridedCodes(1, 5, 1)),
    ],
)
def test_codes_are_as_short_as_the_values_allow(values: list[int], codes: StridedCodes) -> None:
    weights = np.array(values, np.int8)
    assert codes_for(counted(weights)) == codes
    np.testing.assert_array_equal(codes.weights(codes.of(weights)), weights)


def test_weights_that_are_not_evenly_spaced_need_more_bits() -> None:
    assert codes_for(np.array([-4, -1, 1, 4])) == "4 weights from -4 to 4 take 4 bits"
