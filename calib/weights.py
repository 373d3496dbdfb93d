"""Scales of constant tensors, from the values themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bevel.calib.scheme import PerBlock, PerChannel, PerTensor, Scheme, TensorQuant, parameter_shape

# A scale above absmax / high is worth trying: rounding can favour it, and at few bits it does.
MSE_FRACTIONS: tuple[float, ...] = tuple(float(one) for one in np.linspace(0.4, 1.05, 27))


def weight_quant(weights: NDArray[Any], scheme: Scheme, method: Literal["minmax", "mse"] = "mse") -> TensorQuant:
    """Symmetric scales for `weights`, one for each tensor, channel or block as `scheme` says; zero points 0.

    Signed schemes use codes in [-high, high]. minmax takes absmax / high. mse tries 27 scales from 0.4 to 1.05 of that
    (and that itself) in every slice and keeps the one with the least squared error, as Choukroun et al. 2019,
    "Low-bit Quantization of Neural Networks for Efficient Inference", section 3, do by golden-section search.
    A slice of zeros gets scale 1. Raises ValueError for a scheme that is not symmetric and for NaN or infinity.
    """
    if not scheme.symmetric:
        raise ValueError(f"weights are quantized symmetrically; {scheme} is not")
    if not np.isfinite(weights).all():
        raise ValueError("weights hold NaN or infinity")
    if scheme.format.signed:
        scheme = replace(scheme, restricted=True)
    rows = slices(weights.astype(np.float32, copy=False), scheme)
    scale = full_range(rows, scheme)
    if method == "mse":
        scale = least_error(rows, scale, scheme)
    scale = scale.reshape(parameter_shape(weights.shape, scheme.granularity))
    return TensorQuant(scheme, scale, np.zeros(scale.shape, scheme.format.dtype))


def slices(x: NDArray[np.float32], scheme: Scheme) -> NDArray[np.float32]:
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


def full_range(rows: NDArray[np.float32], scheme: Scheme) -> NDArray[np.float32]:
    """The scale that maps each row's largest magnitude to the highest code: [rows]."""
    largest = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    smallest = float(np.finfo(np.float32).smallest_normal)
    return np.where(largest > 0, np.maximum(largest / scheme.high, smallest), 1.0).astype(np.float32)


def least_error(rows: NDArray[np.float32], full: NDArray[np.float32], scheme: Scheme) -> NDArray[np.float32]:
    """For each row, the candidate scale with the least squared error; the full range wins ties."""
    best, least = full, squared_error(rows, full, scheme)
    smallest = np.finfo(np.float32).smallest_normal
    for fraction in MSE_FRACTIONS:
        scale = np.maximum(full * np.float32(fraction), smallest)
        error = squared_error(rows, scale, scheme)
        better = error < least
        best, least = np.where(better, scale, best), np.where(better, error, least)
    return best


def squared_error(rows: NDArray[np.float32], scale: NDArray[np.float32], scheme: Scheme) -> NDArray[np.float64]:
    """Summed squared rounding error of each row under its scale: [rows]."""
    column = scale[:, np.newaxis]
    difference = np.clip(np.rint(rows / column), scheme.low, scheme.high) * column - rows
    errors: NDArray[np.float64] = np.einsum("ij,ij->i", difference, difference, dtype=np.float64)
    return errors
