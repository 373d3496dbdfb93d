"""Statistics are the same however the data was split, and say what the data held."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bevel.calib.arithmetic.exact_sum import ExactSum
from bevel.calib.observe.histogram import MAX_BINS, Histogram, layout
from bevel.calib.observe.statistics import NotFiniteError, Statistics

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ORDINARY = st.floats(-100, 100, width=32)
TENSORS = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.just(3), st.integers(1, 4)), elements=FLOATS | ORDINARY
)


def merged(parts: list[np.ndarray]) -> Statistics:
    result = Statistics.empty()
    for part in parts:
        result = result.merge(Statistics.of(part))
    return result


@given(TENSORS, st.data())
def test_any_split_in_any_order_gives_the_same_statistics(x: np.ndarray, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=4)))
    parts = data.draw(st.permutations(np.split(x, cuts)))
    assert merged(parts) == Statistics.of(x)


@given(TENSORS, TENSORS, TENSORS)
def test_merging_is_associative(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    one, two, three = map(Statistics.of, (a, b, c))
    assert one.merge(two).merge(three) == one.merge(two.merge(three))


def test_batches_of_a_large_tensor_give_the_same_statistics_as_single_samples() -> None:
    x = np.random.default_rng(0).standard_normal((12, 5, 33, 17)).astype(np.float32) ** 3
    whole = Statistics.of(x)
    for batch in (1, 3, 4):
        assert merged([x[start : start + batch] for start in range(0, 12, batch)]) == whole


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


@pytest.mark.parametrize(
    ("shape", "axis", "others"), [((4, 3, 5, 2), 1, (0, 2, 3)), ((4, 6, 3), -1, (0, 1)), ((7, 3), 1, 0)]
)
def test_channel_means_are_the_means_over_samples_and_positions(
    shape: tuple[int, ...], axis: int, others: tuple[int, ...]
) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    # float64 sums of a few dozen float32 values round by less than 1e-14
    np.testing.assert_allclose(
        Statistics.of(x, [axis]).channel_mean(axis), x.mean(others, dtype=np.float64), atol=1e-14
    )


@pytest.mark.parametrize("shape", [(), (5,)])
def test_tensors_of_low_rank_are_one_channel(shape: tuple[int, ...]) -> None:
    assert Statistics.of(np.full(shape, 2.5, np.float32)).channel_mean().tolist() == [2.5]


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


def test_tensors_with_different_channels_do_not_merge() -> None:
    with pytest.raises(ValueError, match=r"of \{1: 3\} and \{1: 4\} channels"):
        Statistics.of(np.ones((1, 3), np.float32)).merge(Statistics.of(np.ones((1, 4), np.float32)))


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


@pytest.mark.parametrize("axis", [1, -1])
def test_samples_can_be_taken_out_of_means_again(axis: int) -> None:
    x = np.random.default_rng(0).standard_normal((7, 3, 5)).astype(np.float32) * 1e3
    whole, part, rest = (Statistics.of(one, [axis]) for one in (x, x[2:4], np.delete(x, [2, 3], 0)))
    np.testing.assert_array_equal(whole.channel_mean(axis, without=part), rest.channel_mean(axis))
    np.testing.assert_array_equal(whole.channel_mean(axis, without=Statistics.empty()), whole.channel_mean(axis))
