"""Weight scales: symmetric, in range, and better than the full range where that is possible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bevel.calib.formats.format import INT4, INT8, UINT4, UINT8, IntFormat, parse
from bevel.calib.formats.level_format import BINARY
from bevel.calib.formats.levels import integer_levels
from bevel.calib.formats.scheme import (
    INT8_WEIGHTS,
    Granularity,
    PerBlock,
    PerChannel,
    PerTensor,
    Scheme,
    parameter_shape,
    spread,
)
from bevel.calib.scales.weights import weight_quant

GRANULARITIES: list[Granularity] = [PerTensor(), PerChannel(0), PerChannel(2), PerBlock(1, 2), PerBlock(-1, 4)]
WEIGHTS = hnp.arrays(np.float32, (2, 3, 5), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
FEW = ["binary", "ternary", "e2m1", "e2m3", "log3", "log4", "apot5k2"]
FORMATS = st.builds(IntFormat, st.integers(2, 16), st.just(True))


@given(WEIGHTS, FORMATS, st.sampled_from(GRANULARITIES), st.sampled_from(["minmax", "mse"]))
def test_weights_are_symmetric_codes_whatever_they_hold(
    weights: np.ndarray, format: IntFormat, granularity: Granularity, method: str
) -> None:
    quant = weight_quant(weights, Scheme(format, granularity, symmetric=True, restricted=True), method)
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


@given(WEIGHTS, st.sampled_from(FEW), st.sampled_from(GRANULARITIES), st.sampled_from(["minmax", "mse"]))
def test_codes_are_steps_of_the_format_whatever_the_weights_hold(
    weights: np.ndarray, name: str, granularity: Granularity, method: str
) -> None:
    format = parse(name)
    quant = weight_quant(weights, Scheme(format, granularity, symmetric=True), method)
    levels = integer_levels(format)
    codes = quant.quantize(weights)
    assert codes.dtype == np.int8 and not quant.zero_point.any()
    assert set(codes.ravel().tolist()) <= set(levels.steps)
    # Scales near float32's smallest round differently, so the reals are compared where they can be.
    again = quant.quantize(quant.dequantize(codes))
    assert (again == codes)[np.broadcast_to(spread(quant.scale, weights.shape, granularity), codes.shape) > 1e-30].all()


@pytest.mark.parametrize("name", [*FEW, "int2", "int3", "int4", "uint2", "uint4"])
def test_the_searched_scale_is_as_good_as_the_best_of_many(name: str) -> None:
    weights = np.random.default_rng(3).laplace(size=(6, 400)).astype(np.float32)
    format = parse(name)
    asymmetric = name.startswith("uint")
    quant = weight_quant(weights, Scheme(format, PerChannel(0), symmetric=not asymmetric))
    found = np.square(quant.fake(weights) - weights).sum(axis=1)
    for row, error in zip(weights, found, strict=True):
        candidates = np.geomspace(0.01, 1.2, 300)[:, np.newaxis] * np.abs(row).max() / np.abs(format.values()).max()
        zeros = np.arange(format.high + 1) if asymmetric else [0]
        best = min(
            np.square((format.round(row / candidates + zero) - zero) * candidates - row).sum(axis=1).min()
            for zero in zeros
        )
        assert error <= 1.03 * best  # the search's grid is coarser than this one


def test_asymmetric_weights_keep_both_ends_and_zero() -> None:
    weights = np.array([[-1, 0, 3], [2, 1, 4]], np.float32)
    quant = weight_quant(weights, Scheme(UINT4, PerChannel(0)), "minmax")
    np.testing.assert_allclose(quant.fake(weights), weights, atol=4 / 15 / 2 + 1e-6)
    assert (quant.fake(np.zeros((2, 3), np.float32)) == 0).all()


def test_a_channel_of_zeros_is_next_to_nothing_in_a_format_without_zero() -> None:
    quant = weight_quant(np.zeros((1, 9), np.float32), Scheme(BINARY, PerChannel(0), symmetric=True))
    assert np.abs(quant.fake(np.zeros((1, 9), np.float32))).max() < 1e-9


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        weight_quant(np.array([np.nan], np.float32), Scheme(INT8, symmetric=True))
