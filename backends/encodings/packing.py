"""Weights packed for the DSP extension: two output channels in each halfword, at one byte a weight.

    halfword[k] = 256 * high[k] + low[k]

An instruction that multiplies halfwords then sums both channels at once, and one that multiplies its lower bytes sums
the low channel alone: the difference is 256 times the high channel's sum, exactly, as long as that fits in 32 bits.
Whether it does follows from the weights. `backends/cortex_m/c/bevel_tiles.h` pictures the layout and reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.requantize import UPPER_WORD, Int8, Int32, Int64, Output

CHANNELS = 4  # output channels of one block
TAPS = 8  # a block's taps are a multiple of this
MAX_TAPS = 2**16 - TAPS  # they are counted in sixteen bits
HIGH_BITS = 8  # how far the second channel of a pair lies above the first
HEADER = 1 + CHANNELS  # words before the weights
SCALE = CHANNELS + 1  # words after them
SCALES = HEADER + SCALE
HALF_UP = Output()
SETTLED_BITS = {"int8": 10, "int16": 4}  # how far the bias of a channel without weights is from what comes of it
LARGEST_SHIFT = 22  # (2 * zero_point + 1) << 22 still fits beside the upper word of a product


@dataclass(frozen=True)
class Channels:
    """What a product needs of its output channels: w int8 [n, k]; bias, multiplier int32 [n]; shift int8 [n]."""

    w: Int8
    bias: Int32
    multiplier: Int32
    shift: NDArray[np.int8]


def padded_taps(taps: int) -> int:
    return -(-taps // TAPS) * TAPS


def blocks(channels: int) -> int:
    return -(-channels // CHANNELS)


def block_words(taps: int) -> int:
    """int32 words of one block of four channels with `taps` taps each, a multiple of TAPS."""
    return HEADER + taps * CHANNELS // 4 + SCALE


def row_words(elements: int) -> int:
    """int32 words that a run of widened elements takes: two for each four of them, a pair a word for the rest."""
    return elements // 4 * 2 + (elements % 4 + 1) // 2


def widened_order(elements: int) -> list[int]:
    """The order in which a run of elements lies when widened, -1 where nothing lies.

    SXTB16 takes bytes 0 and 2, then bytes 1 and 3, of a word of four; a broken last four is paired as it comes.
    """
    fours = [4 * four + byte for four in range(elements // 4) for byte in (0, 2, 1, 3)]
    rest = list(range(elements // 4 * 4, elements))
    return fours + rest + [-1] * (len(rest) % 2)


def in_widened_order(w: Int8, taps: int) -> Int8:
    """w [n, rows, elements] as [n, taps], each row in the order of its widened activations, zero where none lie."""
    order = np.array(widened_order(w.shape[2]))
    rows = np.where(order >= 0, w[:, :, np.maximum(order, 0)], 0).reshape(w.shape[0], -1)
    return np.pad(rows, ((0, 0), (0, taps - rows.shape[1]))).astype(np.int8)


def from_widened_order(packed: Int8, rows: int, elements: int) -> Int8:
    """What `in_widened_order` was given: [n, rows, elements]."""
    order = widened_order(elements)
    lying = packed[:, : rows * len(order)].reshape(-1, rows, len(order))
    places = [order.index(element) for element in range(elements)]
    return np.ascontiguousarray(lying[:, :, places])


def sum_range(w: Int8, bias: Int32) -> tuple[Int64, Int64]:
    """The least and the greatest of bias + sum over k of x[k] * w[., k], for any int8 x."""
    wide = w.astype(np.int64)
    positive, negative = np.maximum(wide, 0).sum(1), np.minimum(wide, 0).sum(1)
    return bias - 128 * positive + 127 * negative, bias + 127 * positive - 128 * negative


def obstacle(channels: Channels) -> str | None:
    """Why these weights cannot be packed, or None."""
    high, low = channels.w[1::2].astype(np.int32), channels.w[0::2].astype(np.int32)[: channels.w[1::2].shape[0]]
    if ((high << HIGH_BITS) + low < -(2**15)).any():
        return "a weight of -128 leaves the halfword that it shares with another channel's"
    least, greatest = sum_range(channels.w[1::2], channels.bias[1::2])
    limit = 2 ** (31 - HIGH_BITS)
    if (least < -limit).any() or (greatest >= limit).any():
        return (
            f"sums of up to {max(-least.min(), greatest.max()):,} leave the {32 - HIGH_BITS} bits of a packed channel"
        )
    return None


def settled(channels: Channels, output: Output = HALF_UP) -> Channels:
    """`channels`, with those whose outputs do not depend on the input made of their biases alone.

    Trained networks have channels with no weights left, and biases that no packed sum could hold: as the scale of
    such a channel's weights is tiny, so is that of its bias. Outputs are the same for every input.
    """
    least, greatest = (results(channels, ends, output) for ends in sum_range(channels.w, channels.bias))
    constant, bits = least == greatest, SETTLED_BITS[output.dtype]
    return Channels(
        w=np.where(constant[:, None], 0, channels.w).astype(np.int8),
        bias=np.where(constant, least << bits, channels.bias).astype(np.int32),
        multiplier=np.where(constant, 2**30, channels.multiplier).astype(np.int32),
        shift=np.where(constant, 30 + bits, channels.shift).astype(np.int8),
    )


def results(channels: Channels, sums: Int64, output: Output) -> Int64:
    """The outputs above the zero point; where no zero point of their type lets them be seen, the nearest as far."""
    farthest = 2 * np.iinfo(output.dtype).max + 1
    return np.clip(output.shifted(sums * channels.multiplier, channels.shift), -farthest - 1, farthest)


def stored_shifts(shift: NDArray[np.int8]) -> Int64 | None:
    """The shifts as a block stores them, or None where a channel's ratio needs more than a product's upper word.

    Odd channels' sums come 256-fold, so that their shifts count from 8 lower.
    """
    stored = shift.astype(np.int64) - np.where(np.arange(len(shift)) % 2, UPPER_WORD - HIGH_BITS, UPPER_WORD)
    return None if (stored < 0).any() or (stored > LARGEST_SHIFT).any() else stored


def pack(channels: Channels, zero_point: int) -> Int32:
    """int32 [blocks, words] as bevel_tiles.h reads it; `channels.w` is [n, taps] in the order of its activations.

    Where `stored_shifts` finds none, the blocks end in zeros, and serve for sums only.
    """
    stored = stored_shifts(channels.shift)
    multiplier, shift = (channels.multiplier, stored) if stored is not None else (0 * channels.multiplier,) * 2
    count, taps = blocks(len(channels.bias)), channels.w.shape[1]
    bias = by_block(channels.bias, count).astype(np.int64)
    header = np.full((count, 1), (2 * zero_point + 1) << 16 | taps)
    start = np.stack([bias[:, 0::2], bias[:, 0::2] + (bias[:, 1::2] << HIGH_BITS)], 2).reshape(count, CHANNELS)
    words = weight_words(channels.w)
    shifts = (by_block(shift.astype(np.int64), count) << (8 * np.arange(CHANNELS))).sum(1, keepdims=True)
    return to_words(np.concatenate([header, start, words, by_block(multiplier, count), shifts], 1))


def weight_words(w: Int8) -> Int32:
    """The part of `pack` that is the weights: w [n, taps] as int32 [blocks, taps]."""
    count = blocks(len(w))
    by_channel = by_block(w, count).astype(np.int64)
    halfwords = ((by_channel[:, 1::2] << HIGH_BITS) + by_channel[:, 0::2]) & 0xFFFF  # [blocks, pairs, taps]
    words = halfwords[:, :, 0::2] | halfwords[:, :, 1::2] << 16
    return to_words(words.transpose(0, 2, 1).reshape(count, -1))


def split(packed: Int32) -> tuple[Int32, Int32]:
    """(weights, scales): the weights of blocks of `pack`, or codes in their place, and the SCALES words around them."""
    weights = np.ascontiguousarray(packed[:, HEADER:-SCALE])
    return weights, np.concatenate([packed[:, :HEADER], packed[:, -SCALE:]], axis=1)


def joined(weights: Int32, scales: Int32) -> Int32:
    """`split` undone."""
    return np.concatenate([scales[:, :HEADER], weights, scales[:, HEADER:]], axis=1)


def unpack(packed: Int32, channels: int) -> Channels:
    """The channels of `pack`; multiplier and shift where it stored them, of the same effect."""
    taps = int(packed[0, 0]) & 0xFFFF
    bias_low, bias_both = packed[:, 1:HEADER:2], packed[:, 2:HEADER:2]
    bias_high = to_words(bias_both.astype(np.int64) - bias_low) >> HIGH_BITS
    words = packed[:, HEADER : HEADER + taps].reshape(-1, taps // 2, 2).transpose(0, 2, 1)
    halfwords = np.ascontiguousarray(words).view(np.int16).astype(np.int32)  # little-endian, as the cores are
    low = halfwords.astype(np.int8)
    high = (halfwords - low) >> HIGH_BITS
    multiplier = packed[:, -SCALE:-1].reshape(-1)[:channels]
    shifts = (packed[:, -1:] >> (8 * np.arange(CHANNELS)) & 0xFF) + np.where(np.arange(CHANNELS) % 2, 25, UPPER_WORD)
    return Channels(
        w=interleaved(low, high)[:channels].astype(np.int8),
        bias=interleaved(bias_low, bias_high)[:channels].astype(np.int32),
        multiplier=np.ascontiguousarray(multiplier),
        shift=shifts.reshape(-1)[:channels].astype(np.int8),
    )


def zero_point(packed: Int32) -> int:
    """The output's, as `pack` was given it."""
    return int(packed[0, 0]) >> 17


def by_block(array: NDArray[Any], count: int) -> NDArray[Any]:
    """[n, ...] as [count, CHANNELS, ...], zeros where channels are missing."""
    missing = count * CHANNELS - array.shape[0]
    filled = np.pad(array, ((0, missing), *(((0, 0),) * (array.ndim - 1))))
    return filled.reshape(count, CHANNELS, *array.shape[1:])


def interleaved(low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """[blocks, pairs, ...] of low and of high channels as [channels, ...]."""
    return np.stack([low, high], 2).reshape(-1, *low.shape[2:])


def to_words(values: NDArray[np.int64]) -> Int32:
    """Integers modulo 2**32 as int32."""
    return (values & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
