"""Every range method on every tensor gives a usable quantization; the search is as good as its claim."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bevel.calib.formats.format import INT4, INT8, INT16, UINT8, IntFormat
from bevel.calib.formats.scheme import PerChannel, Scheme, TensorQuant
from bevel.calib.observe.statistics import Statistics
from bevel.calib.scales.ranges import (
    AUTO,
    METHODS,
    Entropy,
    MinMax,
    Mse,
    Percentile,
    RangeMethod,
    ScaledRange,
    activation_quant,
    expected_error,
    profile_of,
    range_method,
    range_quant,
)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.floats(-10, 10, width=32)
TENSORS = hnp.arrays(np.float32, st.tuples(st.just(2), st.integers(1, 20)), elements=FLOATS)
SCHEMES = st.builds(Scheme, st.builds(IntFormat, st.integers(2, 16), st.booleans()), symmetric=st.booleans())
ANY_METHOD = st.sampled_from([one() for one in METHODS])
every_method = pytest.mark.parametrize("method", [one() for one in METHODS], ids=lambda one: one.name)


def squared_error(x: np.ndarray, quant: TensorQuant) -> float:
    return float(np.mean((quant.fake(x) - x.astype(np.float64)) ** 2))


@settings(max_examples=200)
@given(TENSORS, SCHEMES, ANY_METHOD)
def test_zero_is_representable_and_the_range_stays_in_the_data(
    x: np.ndarray, scheme: Scheme, method: RangeMethod
) -> None:
    statistics = Statistics.of(x)
    low, high = method.choose(statistics, scheme)
    assert min(x.min(), 0) <= low <= 0 <= high <= max(x.max(), 0)
    quant = activation_quant(statistics, scheme, method)  # its own checks: the scale is finite and above 0
    assert quant.fake(np.zeros(1, np.float32))[0] == 0.0
    assert quant.scale.shape == quant.zero_point.shape == ()


@settings(max_examples=100)
@given(TENSORS, SCHEMES)
def test_mse_is_not_worse_than_minmax_on_the_histogram(x: np.ndarray, scheme: Scheme) -> None:
    statistics = Statistics.of(x)
    ends = zip(Mse().choose(statistics, scheme), MinMax().choose(statistics, scheme), strict=True)
    searched, full = expected_error(profile_of(statistics.histogram), *map(np.array, ends), scheme)
    assert searched <= full


@pytest.mark.parametrize("format", [INT4, INT8, UINT8, INT16], ids=lambda one: one.name)
@pytest.mark.parametrize("clip", [(-100.0, 100.0), (0.0, 100.0), (0.0, 6.0)], ids=str)
def test_the_expected_error_is_the_error_of_quantizing_the_data(format: IntFormat, clip: tuple[float, float]) -> None:
    x = np.clip(np.random.default_rng(0).standard_normal((4, 50_000)) * 2, *clip).astype(np.float32)
    statistics, scheme = Statistics.of(x), Scheme(format)
    profile = profile_of(statistics.histogram)
    for fraction in (0.3, 0.8, 1.0):
        low, high = statistics.low * fraction, statistics.high * fraction
        expected = expected_error(profile, np.array([low]), np.array([high]), scheme)[0] / x.size
        # 200,000 samples of a smooth density: the sampling error of its mean square is below 2 %
        assert expected == pytest.approx(squared_error(x, range_quant(low, high, scheme)), rel=0.02)


@pytest.mark.parametrize("clipping", [0.1, 1.0, 9.0])
@pytest.mark.parametrize("lone", [0, 50])
def test_what_is_clipped_counts_as_often_as_was_asked(clipping: float, lone: int) -> None:
    """lone: values at one place, which the histogram holds as a point."""
    x = np.append(np.random.default_rng(0).standard_normal(200_000) * 2, np.full(lone, 7.5)).astype(np.float32)
    statistics, scheme = Statistics.of(x.reshape(1, -1)), Scheme(INT4)
    quant = range_quant(-3.0, 4.0, scheme)
    lost = quant.fake(x) - x.astype(np.float64)
    counted = np.where(np.abs(lost) > 0.5 * quant.scale, clipping, 1.0) @ lost**2
    profile = profile_of(statistics.histogram)
    expected = expected_error(profile, np.array([-3.0]), np.array([4.0]), scheme, clipping)[0]
    assert expected == pytest.approx(counted, rel=0.02)  # the sampling error of a mean square


def test_the_more_a_clipped_value_counts_the_further_codes_reach() -> None:
    statistics = Statistics.of(np.random.default_rng(3).laplace(size=(1, 20_000)).astype(np.float32))
    scales = [float(activation_quant(statistics, Scheme(INT4), Mse(one)).scale) for one in (0.05, 0.3, 1.0, 4.0, 1e9)]
    assert scales == sorted(scales) and scales[0] < 0.8 * scales[2] < 0.8 * scales[3]
    full = float(activation_quant(statistics, Scheme(INT4), MinMax()).scale)
    assert scales[4] == pytest.approx(full, rel=1 / 15)  # values half a step beyond an end are rounded, not clipped


def test_a_scaled_interval_reaches_beyond_what_was_seen() -> None:
    statistics = Statistics.of(np.array([[-1.0, 3.0]], np.float32))
    assert ScaledRange(MinMax(), 1.5).choose(statistics, Scheme(INT8)) == (-1.5, 4.5)
    for factor in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="positive factor"):
            ScaledRange(MinMax(), factor)


def exhaustive(x: np.ndarray, scheme: Scheme) -> float:
    fractions = np.linspace(0.02, 1, 50)
    lows = [fraction * float(x.min()) for fraction in fractions] if x.min() < 0 else [0.0]
    return min(squared_error(x, range_quant(low, high * float(x.max()), scheme)) for low in lows for high in fractions)


@pytest.mark.parametrize("format", [INT4, INT8], ids=lambda one: one.name)
@pytest.mark.parametrize("kind", ["normal", "relu", "laplace", "outliers"])
def test_mse_finds_what_an_exhaustive_search_finds(format: IntFormat, kind: str) -> None:
    rng = np.random.default_rng(2)
    samples = {
        "normal": rng.standard_normal(4000),
        "relu": np.maximum(rng.standard_normal(4000), 0),
        "laplace": rng.laplace(size=4000),
        "outliers": np.append(rng.standard_normal(3999), 60),
    }
    x, scheme = samples[kind].astype(np.float32).reshape(1, -1), Scheme(format)
    found = squared_error(x, activation_quant(Statistics.of(x), scheme))
    # The search looks at bins and not at values, and both grids are finite: 3 % is their resolution.
    assert found <= 1.03 * exhaustive(x, scheme)


def test_a_spike_at_the_upper_clip_is_kept() -> None:
    x = np.minimum(np.abs(np.random.default_rng(3).standard_normal((1, 5000)) * 4), 6).astype(np.float32)
    assert Mse().choose(Statistics.of(x), Scheme(INT8))[1] == pytest.approx(6.0, rel=0.01)


def test_percentile_cuts_the_same_share_at_both_ends() -> None:
    x = np.random.default_rng(4).permutation(np.linspace(-1, 3, 10_001)).astype(np.float32).reshape(1, -1)
    low, high = Percentile(99.0).choose(Statistics.of(x), Scheme(INT8))
    assert (low, high) == pytest.approx((-0.96, 2.96), abs=4 / 1024)  # a bin


def test_percentile_counts_zeros_as_values() -> None:
    x = np.zeros((1, 1000), np.float32)
    x[0, 0] = 8.0
    assert Percentile(99.0).choose(Statistics.of(x), Scheme(INT8))[1] <= 8 / 1024
    assert Percentile(100.0).choose(Statistics.of(x), Scheme(INT8))[1] == 8.0


def test_entropy_clips_a_lone_outlier_and_little_else() -> None:
    x = np.append(np.random.default_rng(5).standard_normal(20_000), 40.0).astype(np.float32).reshape(1, -1)
    low, high = Entropy().choose(Statistics.of(x), Scheme(INT8))
    assert low == x.min()
    assert 3 < high < 10
    wide = Entropy(clipped=0.0).choose(Statistics.of(x), Scheme(INT8))
    assert wide == (float(x.min()), 40.0)


@every_method
def test_a_constant_zero_tensor_gets_scale_one(method: RangeMethod) -> None:
    quant = activation_quant(Statistics.of(np.zeros((2, 4), np.float32)), Scheme(INT8), method)
    assert quant.scale == 1
    assert not quant.fake(np.zeros(3, np.float32)).any()


@every_method
def test_one_sided_tensors_use_every_code(method: RangeMethod) -> None:
    x = np.abs(np.random.default_rng(6).standard_normal((1, 4000))).astype(np.float32)
    for sign, zero_point in ((1, -128), (-1, 127)):
        assert activation_quant(Statistics.of(sign * x), Scheme(INT8), method).zero_point == zero_point


def test_symmetric_activations_have_zero_point_zero_and_cover_both_ends() -> None:
    x = np.array([[-2.0, 1.0]], np.float32)
    quant = activation_quant(Statistics.of(x), Scheme(INT8, symmetric=True), MinMax())
    assert quant.zero_point == 0
    np.testing.assert_allclose(quant.fake(x), x, atol=2 / 128)


@pytest.mark.parametrize("one", METHODS)
def test_a_method_is_found_by_its_name(one: type[RangeMethod]) -> None:
    assert range_method(one.name) == one()


def test_auto_begins_with_the_least_squared_error() -> None:
    assert range_method(AUTO) == Mse()


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known methods: minmax, percentile, mse, entropy"):
        range_method("kl")


def test_ranges_of_nothing_and_of_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="no value"):
        activation_quant(Statistics.empty(), Scheme(INT8))
    with pytest.raises(ValueError, match="PerChannel"):
        activation_quant(Statistics.of(np.ones((1, 2))), Scheme(INT8, PerChannel(0)))


def test_percentiles_that_cross_are_refused() -> None:
    with pytest.raises(ValueError, match="above 50"):
        Percentile(50.0)
