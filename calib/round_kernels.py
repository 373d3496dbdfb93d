"""Rounding weights so that the errors within each convolution kernel cancel.

Neighbouring pixels are alike, so a kernel's taps see nearly the same value, and what counts of their rounding errors is
their sum. Each weight is rounded to the nearest code; then, in each kernel, the weights whose rounding was the least
clear are rounded the other way until the errors sum to half a step at most.

Source: Guo et al. 2022, "SQuant: On-the-Fly Data-Free Quantization via Diagonal Hessian Approximation", section 3: its
kernel-wise step. Its channel-wise step assumes alike inputs of one sign in all channels, and did not help here.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.scheme import TensorQuant

Reals = NDArray[np.float64]


def round_kernels(weights: NDArray[Any], quant: TensorQuant) -> NDArray[Any]:
    """Codes of convolution weights, two channel axes first; of other ranks and formats of unequal steps, the nearest.

    A code moves at most one step from the nearest, and never out of the range.
    """
    codes = quant.quantize(weights)
    if quant.scheme.levels is not None or weights.ndim < 3 or prod(weights.shape[2:]) == 1:
        return codes
    scale, zero_point = quant.spread(weights.shape)
    shape = (*weights.shape[:2], -1)
    exact = (weights.astype(np.float64) / scale + zero_point).reshape(shape)
    balanced = balance(exact, codes.astype(np.float64).reshape(shape), quant.scheme.low, quant.scheme.high)
    return balanced.reshape(weights.shape).astype(codes.dtype)


def balance(exact: Reals, codes: Reals, low: int, high: int) -> Reals:
    """`codes`, some moved by one past `exact`, so that the errors along the last axis sum to 1/2 at most.

    What weights beyond the range lose counts too, as far as the others can make up for it by one step each.
    """
    error = codes - exact
    excess = np.rint(error.sum(axis=-1, keepdims=True))
    sign = np.sign(excess)
    doubt = sign * error  # how far a code lies on the side of which there is too much
    movable = (doubt > 0) & (codes - sign >= low) & (codes - sign <= high)
    ranks = np.argsort(np.argsort(np.where(movable, -doubt, np.inf), axis=-1, kind="stable"), axis=-1)
    return codes - np.where(movable & (ranks < np.abs(excess)), sign, 0.0)
