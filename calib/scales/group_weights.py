"""Weights in groups under an integer scale and a zero point each, whose integers stay within int8: progressive scaling.

    weight = scale[channel] * factor[group] * (code - zero[group])

Source: Lin et al. 2025, "QServe: W4A8KV4 Quantization and System Co-design for Efficient LLM Serving": a
first level of int8 with one float scale a channel, whose largest weight is 119 and not 127, and a second of a few bits
with a whole factor and a zero point a group. What a group stands for is an int8 number then, so the products are those
of int8. There the second level quantizes what the first gives; here factor and zero point are searched for the least
squared error of the weights themselves, among those that keep every code within int8: 119 is room enough for them.

The price is a coarser grid than one of free scales: a factor is a whole number of 119ths of the channel's largest
weight.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.format import INT8, Format, IntFormat
from bevel.calib.formats.quantized import Factors, Grid
from bevel.calib.formats.scheme import PerBlock, PerChannel, Scheme, TensorQuant, parameter_shape
from bevel.calib.formats.tensor_format import BlockFormat
from bevel.calib.scales.weights import Errors, Rows, slices, weight_quant

PROTECTIVE = 119  # the largest first-level integer (QServe)
FRACTIONS = tuple(float(one) for one in np.linspace(0.4, 1.1, 15))  # of the factor that covers a group
AROUND = (-1, 0, 1)

Whole = NDArray[np.int64]


def group_grid(weights: NDArray[Any], format: BlockFormat, axis: int, summed: int) -> Grid:
    """The grid of `weights` with output channels along `axis`, in groups along `summed`.

    Groups of single elements, and channels that fit one group, get a scale and a zero point a channel. Raises
    ValueError for NaN or infinity.
    """
    if not np.isfinite(weights).all():
        raise ValueError("weights hold NaN or infinity")
    shape = weights.shape
    if shape[summed] == 1 or prod(shape) // shape[axis] <= format.size:
        return Grid(weight_quant(weights, Scheme(format.element, PerChannel(axis))))
    blocks = PerBlock(summed, format.size)
    rows = slices(weights.astype(np.float32, copy=False), Scheme(format.element, blocks, symmetric=True))
    counted = parameter_shape(shape, blocks)
    channel = np.indices(counted)[axis].ravel()
    largest = np.zeros(shape[axis])
    np.maximum.at(largest, channel, np.abs(rows).max(axis=1).astype(np.float64))
    scale = np.where(largest > 0, np.maximum(largest / PROTECTIVE, np.finfo(np.float32).tiny), 1.0).astype(np.float32)
    factors, zeros = searched(rows / scale[channel, np.newaxis], format.element)
    channels = Scheme(format.element, PerChannel(axis), symmetric=True)
    quant = TensorQuant(channels, scale, np.zeros(len(scale), channels.dtype))
    return Grid(quant, Factors.of(blocks, factors.reshape(counted), zeros.reshape(counted)))


def searched(rows: Rows, element: Format) -> tuple[Whole, Whole]:
    """The factor and the zero point of each group: [groups]. rows: in units of the channel's scale, [groups, n]."""
    assert isinstance(element, IntFormat), "as a format of groups is made"
    low, high = element.low, element.high
    most = largest_factor(element)
    least, middle = rows.min(axis=1).astype(np.float64), (rows.max(axis=1) + rows.min(axis=1)) / 2.0
    covering = (rows.max(axis=1) - least) / (high - low)
    best = (np.ones(len(rows), np.int64), np.zeros(len(rows), np.int64))
    error = error_of(rows, best, element)
    for fraction in FRACTIONS:
        factor = np.clip(np.rint(covering * fraction), 1, most).astype(np.int64)
        centred = np.rint((low + high) / 2 - middle / factor).astype(np.int64)
        for step in AROUND:
            room = INT8.high // factor
            zero = np.clip(centred + step, np.maximum(low, high - room), np.minimum(high, room + low))
            found = error_of(rows, (factor, zero), element)
            wins = found < error
            best = (np.where(wins, factor, best[0]), np.where(wins, zero, best[1]))
            error = np.where(wins, found, error)
    return best


def largest_factor(element: Format) -> int:
    """With which every code of an element still lies within int8, at some zero point."""
    assert isinstance(element, IntFormat), "as a format of groups is made"
    return INT8.high // -element.low


def error_of(rows: Rows, found: tuple[Whole, Whole], element: IntFormat) -> Errors:
    """Summed squared rounding error of each group: [groups]."""
    factor, zero = (one[:, np.newaxis].astype(np.float32) for one in found)
    codes = np.clip(np.rint(rows / factor), element.low - zero, element.high - zero)
    difference = codes * factor - rows
    errors: Errors = np.einsum("ij,ij->i", difference, difference, dtype=np.float64)
    return errors
