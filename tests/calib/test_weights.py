"""Weight scales: symmetric, in range, and better than the full range where that is possible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bevel.calib.format import INT4, INT8, UINT8, IntFormat
from bevel.calib.scheme import INT8_WEIGHTS, Granularity, PerBlock, PerChannel, PerTensor, Scheme, parameter_shape
from bevel.calib.weights import weight_quant

GRANULARITIES: list[Granularity] = [PerTensor(), PerChannel(0), PerChannel(2), PerBlock(1, 2), PerBlock(-1, 4)]
WEIGHTS = hnp.arrays(np.float32, (2, 3, 5), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
FORMATS = st.builds(IntFormat, st.integers(2, 16), st.just(True))


@given(WEIGHTS, FORMATS, st.sampled_from(GRANULARITIES), st.sampled_from(["minmax", "mse"]))
def test_weights_are_symmetric_codes_whatever_they_hold(
    weights: np.ndarray, format: IntFormat, granularity: Granularity, method: str
) -> None:
    quant = weight_quant(weights, Scheme(format, granularity, symmetric=True), method)
    codes = quant.quantize(weights)
    assert quant.scale.shape == parameter_shape(weights.shape, granularity)
    assert not quant.zero_point.any()
    assert codes.min() >= -format.high and codes.max() <= format.high


@pytest.mark.parametrize("granularity", GRANULARITIES, ids=str)
def test_minmax_maps_the_largest_magnitude_of_each_slice_to_the_highest_code(granularity: Granularity) -> None:
    weights = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)
    codes = weight_quant(weights, Scheme(INT8, granularity, symmetric=True), "minmax").quantize(weights)
    assert (np.abs(codes) == 127).sum() == np.prod(parameter_shape(weights.shape, granularity))


def test_mse_is_not_worse_than_minmax_in_any_channel() -> None:
    weights = np.random.default_rng(1).standard_normal((8, 64)).astype(np.float32)
    scheme = Scheme(INT4, PerChannel(0), symmetric=True)
    errors = {
        method: ((weight_quant(weights, scheme, method).fake(weights) - weights) ** 2).sum(axis=1)
        for method in ("mse", "minmax")
    }
    assert (errors["mse"] <= errors["minmax"]).all()
    assert errors["mse"].sum() < errors["minmax"].sum()


def test_a_channel_of_zeros_gets_scale_one_and_leaves_the_others_alone() -> None:
    weights = np.array([[0, 0, 0], [1, -2, 0.5]], np.float32)
    quant = weight_quant(weights, INT8_WEIGHTS)
    assert quant.scale[0] == 1
    np.testing.assert_allclose(quant.fake(weights), weights, atol=2 / 127)


def test_a_channel_does_not_depend_on_the_others() -> None:
    weights = np.random.default_rng(2).standard_normal((4, 9)).astype(np.float32)
    alone = weight_quant(weights[2:3], INT8_WEIGHTS).scale
    assert weight_quant(weights, INT8_WEIGHTS).scale[2] == alone[0]


def test_unsigned_weights_use_the_whole_format() -> None:
    weights = np.array([0, 3], np.float32)
    assert weight_quant(weights, Scheme(UINT8, symmetric=True), "minmax").quantize(weights).tolist() == [0, 255]


def test_asymmetric_schemes_and_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="symmetrically"):
        weight_quant(np.ones(3, np.float32), Scheme(INT8))
    with pytest.raises(ValueError, match="NaN"):
        weight_quant(np.array([np.nan], np.float32), Scheme(INT8, symmetric=True))
