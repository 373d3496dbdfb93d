"""Rounding errors of a kernel cancel, codes stay near their weights and in their range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bevel.calib.formats.format import INT4, INT8, UINT4, IntFormat, parse
from bevel.calib.formats.quantized import Grid
from bevel.calib.formats.scheme import PerChannel, Scheme, TensorQuant
from bevel.calib.rounding.kernel_wise import OWN_ERROR, ROUNDER
from bevel.calib.scales.weights import weight_quant

WEIGHTS = hnp.arrays(np.float32, (2, 3, 3, 3), elements=st.floats(-4, 4, width=16))
ALIKE = {format: Scheme(format, PerChannel(0), symmetric=format.signed) for format in (INT4, INT8, UINT4)}


def kernel_wise(weights: np.ndarray, quant: TensorQuant) -> np.ndarray:
    return ROUNDER(weights, Grid(quant)).codes


def excess(weights: np.ndarray, codes: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    column = (slice(None), None, None, None)
    return np.abs((codes - zero_point[column].astype(int) - weights / scale[column]).sum(axis=(2, 3)))


@given(WEIGHTS, st.sampled_from(list(ALIKE)))
def test_errors_of_a_kernel_sum_to_half_a_step_and_no_code_moves_further_than_one(
    weights: np.ndarray, format: IntFormat
) -> None:
    quant = weight_quant(weights, ALIKE[format], "minmax")
    codes, nearest = kernel_wise(weights, quant), quant.quantize(weights)
    assert codes.dtype == nearest.dtype
    assert np.abs(codes.astype(int) - nearest).max() <= 1
    assert codes.min() >= format.low and codes.max() <= format.high
    if format.signed:  # a zero point rounds away from an end, whose weights then clip
        assert (excess(weights, codes, quant.scale, quant.zero_point) <= 0.5 + 1e-3).all()


def test_kernels_of_equal_weights_keep_their_mean() -> None:
    weights = np.full((1, 1, 2, 2), 0.25, np.float32)
    weights[0, 0, 0, 0] = 7
    quant = weight_quant(weights, ALIKE[INT4], "minmax")
    assert kernel_wise(weights, quant).sum() == 8  # 7 + 3/4, where the nearest codes alone make 7


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1, 1)])
def test_matrices_are_rounded_to_the_nearest(shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    quant = weight_quant(weights, ALIKE[INT4])
    assert (kernel_wise(weights, quant) == quant.quantize(weights)).all()


@given(WEIGHTS, st.sampled_from(["e2m1", "e3m2", "e4m3", "ternary", "log4"]))
def test_weights_of_unequal_steps_move_one_value_at_most_where_the_kernel_gains(weights: np.ndarray, name: str) -> None:
    quant = weight_quant(weights, Scheme(parse(name), PerChannel(0), symmetric=True), "minmax")
    levels = quant.scheme.levels
    assert levels is not None
    codes, nearest = (
        np.searchsorted(levels.array, one) for one in (kernel_wise(weights, quant), quant.quantize(weights))
    )
    assert np.abs(codes - nearest).max() <= 1

    def loss(places: np.ndarray) -> np.ndarray:
        error = levels.array[places] - weights / quant.scale[:, None, None, None].astype(np.float64)
        return OWN_ERROR * np.square(error).sum(axis=(2, 3)) + np.square(error.sum(axis=(2, 3)))

    assert (loss(codes) <= loss(nearest) * (1 + 1e-9) + 1e-9).all()


def test_errors_of_unequal_steps_cancel() -> None:
    weights = np.random.default_rng(0).standard_normal((8, 8, 3, 3)).astype(np.float32)
    quant = weight_quant(weights, Scheme(parse("e2m1"), PerChannel(0), symmetric=True))
    errors = [quant.dequantize(codes) - weights for codes in (kernel_wise(weights, quant), quant.quantize(weights))]
    balanced, nearest = (float(np.square(error.sum(axis=(2, 3))).mean()) for error in errors)
    assert balanced < 0.5 * nearest
