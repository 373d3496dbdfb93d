"""Rounding errors of a kernel cancel, codes stay near their weights and in their range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bevel.calib.format import INT4, INT8, UINT4, IntFormat, parse
from bevel.calib.round_kernels import round_kernels
from bevel.calib.scheme import PerChannel, Scheme
from bevel.calib.weights import weight_quant

WEIGHTS = hnp.arrays(np.float32, (2, 3, 3, 3), elements=st.floats(-4, 4, width=16))
ALIKE = {format: Scheme(format, PerChannel(0), symmetric=format.signed) for format in (INT4, INT8, UINT4)}


def excess(weights: np.ndarray, codes: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    column = (slice(None), None, None, None)
    return np.abs((codes - zero_point[column].astype(int) - weights / scale[column]).sum(axis=(2, 3)))


@given(WEIGHTS, st.sampled_from(list(ALIKE)))
def test_errors_of_a_kernel_sum_to_half_a_step_and_no_code_moves_further_than_one(
    weights: np.ndarray, format: IntFormat
) -> None:
    quant = weight_quant(weights, ALIKE[format], "minmax")
    codes, nearest = round_kernels(weights, quant), quant.quantize(weights)
    assert codes.dtype == nearest.dtype
    assert np.abs(codes.astype(int) - nearest).max() <= 1
    assert codes.min() >= format.low and codes.max() <= format.high
    if format.signed:  # a zero point rounds away from an end, whose weights then clip
        assert (excess(weights, codes, quant.scale, quant.zero_point) <= 0.5 + 1e-3).all()


def test_kernels_of_equal_weights_keep_their_mean() -> None:
    weights = np.full((1, 1, 2, 2), 0.25, np.float32)
    weights[0, 0, 0, 0] = 7
    quant = weight_quant(weights, ALIKE[INT4], "minmax")
    assert round_kernels(weights, quant).sum() == 8  # 7 + 3/4, where the nearest codes alone make 7


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1, 1)])
def test_matrices_are_rounded_to_the_nearest(shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    quant = weight_quant(weights, ALIKE[INT4])
    assert (round_kernels(weights, quant) == quant.quantize(weights)).all()


def test_formats_of_unequal_steps_are_rounded_to_the_nearest() -> None:
    weights = np.random.default_rng(0).standard_normal((4, 2, 3, 3)).astype(np.float32)
    quant = weight_quant(weights, Scheme(parse("e2m1"), PerChannel(0), symmetric=True))
    assert (round_kernels(weights, quant) == quant.quantize(weights)).all()
