"""Weights in blocks, each with a scale of its own, as integers: the scales are searched, not read off the maximum.

    weight = scale[channel] * factor[block] * step

Each block's scale is searched like a channel's (`bevel.calib.scales.weights`), for the least squared error of the
block; then the three nearest factors that the format has are tried, and the best is kept. The MX specification (section
6.3) takes the power of two of the block's largest element, which leaves up to half of the highest binade empty or clips
it.

Blocks run along the axis that is summed, the input channels. Where that makes blocks of single elements (depthwise
kernels), or a whole channel fits one block, each channel is one block: its scale is the channel's.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.float_format import E4M3
from bevel.calib.formats.format import INT8
from bevel.calib.formats.levels import levels_of
from bevel.calib.formats.quantized import Factors, Grid
from bevel.calib.formats.scheme import PerBlock, PerChannel, PerTensor, Scheme, TensorQuant, parameter_shape
from bevel.calib.formats.tensor_format import LARGEST_INTEGER, BlockFormat, Scales
from bevel.calib.scales.group_weights import group_grid, largest_factor
from bevel.calib.scales.weights import Errors, Rows, full_range, least_error, slices, squared_error

OCTAVES = 12  # between the largest block scale of a channel and the smallest: those below add nothing to the sums
LARGEST_FACTOR = 255  # of integer scales, 8 bits
AROUND = (-1, 0, 1)

Table = NDArray[np.int64]


def block_grid(weights: NDArray[Any], format: BlockFormat, axis: int, summed: int) -> Grid:
    """The grid of `weights` with output channels along `axis`, in blocks along `summed`.

    Raises ValueError for NaN or infinity, and for elements whose steps times a factor do not fit int32.
    """
    if format.scales == "progressive":
        return group_grid(weights, format, axis, summed)
    if not np.isfinite(weights).all():
        raise ValueError("weights hold NaN or infinity")
    table = factor_table(format)
    if table is None:
        raise ValueError(f"format {format.name}: its values are not integers within int32")
    blocks = blocks_of(weights.shape, format.size, axis, summed)
    channels = Scheme(format.element, PerChannel(axis), symmetric=True, restricted=format.element == INT8)
    scheme = replace(channels, granularity=PerChannel(axis) if isinstance(blocks, PerTensor) else blocks)
    rows = slices(weights.astype(np.float32, copy=False), scheme)
    shape = parameter_shape(weights.shape, scheme.granularity)
    channel = np.indices(shape)[axis if shape[1:] else 0].ravel()
    base, places = searched(rows, channel, scheme, table, format.scales)
    if isinstance(blocks, PerTensor):
        scale, factors = (base * table[places]).astype(np.float32), Factors.none()
    else:
        scale, factors = base, Factors.of(blocks, table[places].reshape(shape))
    return Grid(TensorQuant(channels, scale, np.zeros(len(scale), channels.dtype)), factors)


def blocks_of(shape: tuple[int, ...], size: int, axis: int, summed: int) -> PerTensor | PerBlock:
    """Blocks of a tensor of `shape`; PerTensor: the scales of its channels are all there are."""
    whole = shape[summed] == 1 or prod(shape) // shape[axis] <= size
    return PerTensor() if whole else PerBlock(summed, size)


def factor_table(format: BlockFormat) -> Table | None:
    """The factors a block can have, ascending; None where a step times a factor may leave int32."""
    levels = levels_of(format.element)
    if levels is None:
        return None
    largest = int(np.abs(levels.array).max())
    match format.scales:
        case "e8m0":
            octaves = min(OCTAVES, (LARGEST_INTEGER // largest).bit_length() - 1)
            factors = 2 ** np.arange(octaves + 1, dtype=np.int64)
        case "e4m3":
            steps = levels_of(E4M3)
            factors = steps.array[steps.array > 0] if steps is not None else np.zeros(0, np.int64)
        case "integer":
            factors = np.arange(1, LARGEST_FACTOR + 1, dtype=np.int64)
        case "progressive":
            factors = np.arange(1, largest_factor(format.element) + 1, dtype=np.int64)
    return factors if largest * int(factors[-1]) <= LARGEST_INTEGER else None


def searched(
    rows: Rows, channel: NDArray[np.intp], scheme: Scheme, table: Table, scales: Scales
) -> tuple[Rows, NDArray[np.intp]]:
    """The scale of each channel, float32 [channels], and the place in `table` of each block's factor: [blocks].

    rows: [blocks, elements]; channel: of each block.
    """
    ideal = least_error(rows, full_range(rows, scheme), scheme).astype(np.float64)
    empty = ~rows.any(axis=1)
    ideal[empty] = 0
    base = channel_base(ideal, channel, table, scales)
    near = np.searchsorted((table[1:] + table[:-1]) / 2, ideal / base[channel])
    best, least = near, np.full(len(rows), np.inf)
    for step in AROUND:
        places = np.clip(near + step, 0, len(table) - 1)
        error = error_of(rows, base[channel] * table[places], scheme)
        best, least = np.where(error < least, places, best), np.minimum(error, least)
    if scales == "e8m0":  # factors of a channel from 1
        lowest = np.full(len(base), len(table) - 1)
        np.minimum.at(lowest, channel[~empty], best[~empty])
        lowest[np.bincount(channel[~empty], minlength=len(base)) == 0] = 0
        best = np.where(empty, 0, best - lowest[channel])
        base = base * table[lowest]
    return base.astype(np.float32), best


def error_of(rows: Rows, scale: NDArray[np.float64], scheme: Scheme) -> Errors:
    return squared_error(rows, scale.astype(np.float32), scheme)


def channel_base(
    ideal: NDArray[np.float64], channel: NDArray[np.intp], table: Table, scales: Scales
) -> NDArray[np.float64]:
    """What a factor of 1 is worth in each channel, so that its largest block has a factor near the top."""
    largest = np.zeros(channel.max() + 1)
    np.maximum.at(largest, channel, ideal)
    match scales:
        case "e4m3":
            largest[:] = largest.max()
            wanted = largest / table[-1]
        case "integer" | "progressive":
            wanted = largest / table[-1]
        case "e8m0":  # one octave of room, so that the factor above the nearest can be tried
            octaves = np.ceil(np.log2(np.where(largest > 0, largest, 1.0))) + 1
            wanted = np.ldexp(1.0, octaves.astype(np.int64)) / table[-1]
    return np.where(largest > 0, np.maximum(wanted, float(np.finfo(np.float32).smallest_normal)), 1.0)
