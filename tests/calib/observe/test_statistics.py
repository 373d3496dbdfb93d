"""Statistics are the same however the data was split, and say what the data held."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bevel.calib.arithmetic.exact_sum import ExactSum
from bevel.calib.observe.base import NotFiniteError, Want
from bevel.calib.observe.histogram import MAX_BINS, Histogram, layout
from bevel.calib.observe.mean import Mean
from bevel.calib.observe.statistics import RANGE, Statistics

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ORDINARY = st.floats(-100, 100, width=32)
TENSORS = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.just(3), st.integers(1, 4)), elements=FLOATS | ORDINARY
)


@given(TENSORS)
def test_every_value_is_counted_once_in_the_bin_that_holds_it(x: np.ndarray) -> None:
    histogram = Statistics.of(x).histogram
    assert histogram.count == x.size
    assert histogram.zeros == np.count_nonzero(x == 0)
    assert len(histogram.counts) <= MAX_BINS
    bins = np.floor(x.astype(np.float64) / 2.0**histogram.exponent)[x != 0]
    found, counts = np.unique(bins.astype(int), return_counts=True)
    np.testing.assert_array_equal(histogram.counts[found - histogram.first], counts)


@given(FLOATS, FLOATS)
def test_bins_are_as_narrow_as_their_number_allows(one: float, other: float) -> None:
    low, high = sorted((one, other))
    exponent, first, bins = layout(low, high)
    assert 1 <= bins <= MAX_BINS
    assert first <= 0 < first + bins
    if exponent > -120:
        finer = Fraction(2) ** (exponent - 1)
        assert max(high, 0) // finer - min(low, 0) // finer + 1 > MAX_BINS


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 3)), elements=st.floats(-(2.0**130), 2.0**130))
)
def test_exact_sums_are_the_sums_of_their_rounded_terms(terms: np.ndarray) -> None:
    unit = Fraction(1, 2**64)
    exact = [sum(round(Fraction(term) / unit) * unit for term in column) / len(terms) for column in terms.T.tolist()]
    np.testing.assert_array_equal(ExactSum.of(terms).divided(len(terms)), [float(one) for one in exact])


def test_exact_sums_need_as_many_digits_as_their_largest_term() -> None:
    small, large = ExactSum.of(np.full((1, 2), 0.5)), ExactSum.of(np.full((1, 2), 2.0**100))
    assert len(small.digits) < len(large.digits) <= 7


def test_extremes_and_zeros_are_seen() -> None:
    found = Statistics.of(np.array([[-1.5, 0.0, -0.0, 3.0]], np.float32))
    assert (found.low, found.high, found.count, found.histogram.zeros) == (-1.5, 3.0, 4, 2)
    assert not found.always_zero
    assert Statistics.of(np.zeros((2, 3), np.float32)).always_zero
    assert not Statistics.empty().always_zero


@pytest.mark.parametrize(("value", "row"), [(np.nan, 2), (np.inf, 0), (-np.inf, 1)])
def test_a_value_that_is_not_finite_is_located(value: float, row: int) -> None:
    x = np.ones((3, 2, 4), np.float32)
    x[row, 1, 3] = value
    with pytest.raises(NotFiniteError) as caught:
        Statistics.of(x)
    assert caught.value.row == row
    assert str(caught.value.value) == str(value)


def test_what_was_not_asked_for_is_not_there() -> None:
    found = Statistics.of(np.ones((2, 3), np.float32), [RANGE])
    with pytest.raises(KeyError, match=r"nobody asked for Mean\(1,\)"):
        found.channel_mean(1)
    with pytest.raises(ValueError, match="different things"):
        found.merge(Statistics.of(np.ones((2, 3), np.float32), [RANGE, Want(Mean, (1,))]))


@settings(max_examples=30)
@given(TENSORS)
def test_the_edges_enclose_the_data_and_zero(x: np.ndarray) -> None:
    histogram = Statistics.of(x).histogram
    assert histogram.edges[0] == min(x.min(), 0)
    assert histogram.edges[-1] == max(x.max(), 0)
    assert len(histogram.edges) == len(histogram.counts) + 1


def test_an_empty_array_has_the_statistics_of_nothing() -> None:
    assert Statistics.of(np.zeros((0, 3), np.float32)) == Statistics.empty()
    assert Histogram.empty().count == 0
