"""Weights in blocks, each with a scale of its own, as integers: the scales are searched, not read off the maximum.

    weight = scale[channel] * factor[block] * step

Each block's scale is searched like a channel's (`bevel.calib.scales.weights`), for the least squared error of the
block; then the three nearest factors that the format has are tried, and the best is kept. The MX specification (section
6.3) takes the power of two of the block's largest element, which leaves up to half of the highest binade empty or clips
it. The weights of a kernel are then rounded so that their errors cancel (`bevel.calib.rounding.round_kernels`).

Blocks run along the axis that is summed, the input channels. Where that makes blocks of single elements (depthwise
kernels), or a whole channel fits one block, each channel is one block: its scale is the channel's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.coded import Coded, at_levels, coded
from bevel.calib.formats.float_format import E4M3
from bevel.calib.formats.format import INT8
from bevel.calib.formats.levels import levels_of
from bevel.calib.formats.scheme import PerBlock, PerChannel, PerTensor, Scheme, TensorQuant, parameter_shape, spread
from bevel.calib.formats.tensor_format import LARGEST_INTEGER, BlockFormat, Scales
from bevel.calib.rounding.round_kernels import balance_places
from bevel.calib.scales.weights import Errors, Rows, full_range, least_error, slices, squared_error

OCTAVES = 12  # between the largest block scale of a channel and the smallest: those below add nothing to the sums
LARGEST_FACTOR = 255  # of integer scales, 8 bits
AROUND = (-1, 0, 1)

Factors = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BlockQuant:
    """coded: the integers, factors applied by it. scale: float32 [channels], along `axis`."""

    coded: Coded
    scale: NDArray[np.float32]
    axis: int

    def dequantize(self) -> NDArray[np.float32]:
        """The reals: one float32 multiplication, as DequantizeLinear."""
        integers = self.coded.values()
        scale = spread(self.scale, integers.shape, PerChannel(self.axis))
        reals: NDArray[np.float32] = integers.astype(np.float32) * scale
        return reals


def block_quant(weights: NDArray[Any], format: BlockFormat, axis: int, summed: int) -> BlockQuant:
    """`weights` with output channels along `axis`, in blocks along `summed`.

    Raises ValueError for NaN or infinity, and for elements whose steps times a factor do not fit int32.
    """
    if not np.isfinite(weights).all():
        raise ValueError("weights hold NaN or infinity")
    levels, table = levels_of(format.element), factor_table(format)
    if levels is None or table is None:
        raise ValueError(f"format {format.name}: its values are not integers within int32")
    blocks = blocks_of(weights.shape, format.size, axis, summed)
    granularity = PerChannel(axis) if isinstance(blocks, PerTensor) else blocks
    scheme = Scheme(format.element, granularity, symmetric=True, restricted=format.element == INT8)
    rows = slices(weights.astype(np.float32, copy=False), scheme)
    shape = parameter_shape(weights.shape, granularity)
    channel = np.indices(shape)[axis if shape[1:] else 0].ravel()
    base, places = searched(rows, channel, scheme, table, format.scales)
    scales = (base[channel] * table[places]).astype(np.float32)
    quant = TensorQuant(scheme, scales.reshape(shape), np.zeros(shape, scheme.dtype))
    inner = at_levels(quant.quantize(weights), levels)
    if weights.ndim > 2 and prod(weights.shape[2:]) > 1:
        exact = weights / spread(base, weights.shape, PerChannel(axis))
        factors = spread(table[places].reshape(shape), weights.shape, granularity)
        balanced = balance_places(
            exact, inner.codes.astype(np.int64), levels.array, factors, scheme.low - levels.steps[0]
        )
        inner = replace(inner, codes=balanced.astype(np.uint8))
    if isinstance(blocks, PerTensor):
        return BlockQuant(inner, scales, axis)
    outer = coded(table[places].reshape(shape))
    return BlockQuant(Coded(inner.codes, inner.bits, inner.table, blocks, outer.codes, outer.table), base, axis)


def blocks_of(shape: tuple[int, ...], size: int, axis: int, summed: int) -> PerTensor | PerBlock:
    """Blocks of a tensor of `shape`; PerTensor: the scales of its channels are all there are."""
    whole = shape[summed] == 1 or prod(shape) // shape[axis] <= size
    return PerTensor() if whole else PerBlock(summed, size)


def factor_table(format: BlockFormat) -> Factors | None:
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
    return factors if largest * int(factors[-1]) <= LARGEST_INTEGER else None


def searched(
    rows: Rows, channel: NDArray[np.intp], scheme: Scheme, table: Factors, scales: Scales
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
    ideal: NDArray[np.float64], channel: NDArray[np.intp], table: Factors, scales: Scales
) -> NDArray[np.float64]:
    """What a factor of 1 is worth in each channel, so that its largest block has a factor near the top."""
    largest = np.zeros(channel.max() + 1)
    np.maximum.at(largest, channel, ideal)
    match scales:
        case "e4m3":
            largest[:] = largest.max()
            wanted = largest / table[-1]
        case "integer":
            wanted = largest / table[-1]
        case "e8m0":  # one octave of room, so that the factor above the nearest can be tried
            octaves = np.ceil(np.log2(np.where(largest > 0, largest, 1.0))) + 1
            wanted = np.ldexp(1.0, octaves.astype(np.int64)) / table[-1]
    return np.where(largest > 0, np.maximum(wanted, float(np.finfo(np.float32).smallest_normal)), 1.0)
