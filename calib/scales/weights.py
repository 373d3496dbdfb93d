"""Scales of constant tensors, from the values themselves."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.scheme import PerBlock, PerChannel, PerTensor, Scheme, TensorQuant, parameter_shape

Rows = NDArray[np.float32]
Errors = NDArray[np.float64]

# A scale above absmax / high is worth trying: rounding can favour it, and at few bits it does. One code pair only
# (binary) stands for the mean magnitude, which a few large weights can leave far below the largest.
MSE_FRACTIONS: tuple[float, ...] = tuple(float(one) for one in np.linspace(0.4, 1.05, 27))
FEW_LEVELS = 32
FEW_FRACTIONS: tuple[float, ...] = tuple(float(one) for one in np.geomspace(0.04, 1.2, 60))
FINE_FACTORS: tuple[float, ...] = tuple(float(one) for one in np.linspace(0.96, 1.04, 9))
END_FRACTIONS: tuple[float, ...] = tuple(float(one) for one in np.linspace(0.3, 1.05, 11))

SMALLEST = np.float32(np.finfo(np.float32).smallest_normal)
NEXT_TO_NONE = 2.0**-40  # far below any other scale, and a product with an activation's scale is still a normal number


def weight_quant(weights: NDArray[Any], scheme: Scheme, method: Literal["minmax", "mse"] = "mse") -> TensorQuant:
    """Scales (and zero points, where `scheme` is not symmetric) for `weights`, one for each tensor, channel or block.

    minmax takes absmax / high, or (highest - lowest) / (high - low) with 0 among the codes. mse tries fractions of that
    (and that itself) in every slice, from 0.4 to 1.05 or, in formats of few levels, from 0.04 to 1.2 and then finer
    around the best, and keeps the one with the least squared error, as Choukroun et al. 2019, "Low-bit Quantization of
    Neural Networks for Efficient Inference", section 3, do by golden-section search; without symmetry, fractions of
    both ends. A slice of zeros gets scale 1, or next to none where the format has no zero (binary).

    In minifloats this is the search for an exponent bias as well, as Liu et al. 2023, "LLM-FP4: 4-Bit Floating-Point
    Quantized Transformers", do by their search for the largest value: a bias is a power of two, the scale any factor.

    Raises ValueError for NaN or infinity.
    """
    if not np.isfinite(weights).all():
        raise ValueError("weights hold NaN or infinity")
    rows = slices(weights.astype(np.float32, copy=False), scheme)
    scale, zero_point = symmetric(rows, scheme, method) if scheme.symmetric else asymmetric(rows, scheme, method)
    shape = parameter_shape(weights.shape, scheme.granularity)
    return TensorQuant(scheme, scale.reshape(shape), zero_point.astype(scheme.dtype).reshape(shape))


def slices(x: Rows, scheme: Scheme) -> Rows:
    """One row for each scale, in the order of the scales: [scales, elements]; short blocks are filled with zeros."""
    match scheme.granularity:
        case PerTensor():
            return x.reshape(1, -1)
        case PerChannel(axis):
            return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
        case PerBlock(axis, size):
            padding = [(0, -x.shape[axis] % size) if place == axis % x.ndim else (0, 0) for place in range(x.ndim)]
            last = np.moveaxis(np.pad(x, padding), axis, -1)
            blocks = last.reshape(*last.shape[:-1], -1, size)
            return np.moveaxis(blocks, -2, axis if axis >= 0 else axis + x.ndim).reshape(-1, size)


def symmetric(rows: Rows, scheme: Scheme, method: str) -> tuple[Rows, Rows]:
    """Scale and zero point, 0, of each row: [rows]."""
    full = full_range(rows, scheme)
    scale = full if method == "minmax" else least_error(rows, full, scheme)
    return scale, np.zeros_like(scale)


def full_range(rows: Rows, scheme: Scheme) -> Rows:
    """The scale that maps each row's largest magnitude to the highest code: [rows]."""
    largest = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    of_zeros = NEXT_TO_NONE if scheme.round(np.zeros(1))[0] else 1.0
    return np.where(largest > 0, np.maximum(largest / scheme.high, SMALLEST), of_zeros).astype(np.float32)


def least_error(rows: Rows, full: Rows, scheme: Scheme) -> Rows:
    """For each row, the candidate scale with the least squared error; the full range wins ties."""
    few = scheme.high - scheme.low < FEW_LEVELS or scheme.levels is not None
    best, least = full, squared_error(rows, full, scheme)
    best, least = better(rows, best, least, full, FEW_FRACTIONS if few else MSE_FRACTIONS, scheme)
    if few:
        best, _ = better(rows, best, least, best, FINE_FACTORS, scheme)
    return best


def better(
    rows: Rows, best: Rows, least: Errors, full: Rows, fractions: tuple[float, ...], scheme: Scheme
) -> tuple[Rows, Errors]:
    """`best` with error `least`, or, in each row, a fraction of `full` that beats it."""
    for fraction in fractions:
        scale = np.maximum(full * np.float32(fraction), SMALLEST)
        error = squared_error(rows, scale, scheme)
        wins = error < least
        best, least = np.where(wins, scale, best), np.where(wins, error, least)
    return best, least


def asymmetric(rows: Rows, scheme: Scheme, method: str) -> tuple[Rows, Rows]:
    """Scale and zero point of each row; real 0 has a code: [rows]."""
    low, high = np.minimum(rows.min(axis=1, initial=0.0), 0.0), np.maximum(rows.max(axis=1, initial=0.0), 0.0)
    scale, zero_point = interval(low, high, scheme)
    if method == "minmax":
        return scale, zero_point
    least = squared_error(rows, scale, scheme, zero_point)
    for below in END_FRACTIONS:
        for above in END_FRACTIONS:
            narrower = interval(low * np.float32(below), high * np.float32(above), scheme)
            error = squared_error(rows, narrower[0], scheme, narrower[1])
            wins = error < least
            scale, zero_point = (
                np.where(wins, new, old) for new, old in zip(narrower, (scale, zero_point), strict=True)
            )
            least = np.where(wins, error, least)
    return scale, zero_point


def interval(low: Rows, high: Rows, scheme: Scheme) -> tuple[Rows, Rows]:
    """Scale and zero point that cover [low, high], low <= 0 <= high, in each row."""
    width = (high.astype(np.float64) - low) / (scheme.high - scheme.low)
    scale = np.where(width > 0, np.maximum(width, SMALLEST), 1.0).astype(np.float32)
    zero_point = np.clip(np.rint(scheme.low - low / scale), scheme.low, scheme.high)
    return scale, zero_point.astype(np.float32)


def squared_error(rows: Rows, scale: Rows, scheme: Scheme, zero_point: Rows | None = None) -> Errors:
    """Summed squared rounding error of each row under its scale: [rows]."""
    column = scale[:, np.newaxis]
    zero = np.zeros(1, np.float32) if zero_point is None else zero_point
    difference = scheme.round(rows / column, zero[:, np.newaxis]) * column - rows
    errors: Errors = np.einsum("ij,ij->i", difference, difference, dtype=np.float64)
    return errors
