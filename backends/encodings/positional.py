"""Weights of two, three or four bits, packed for the DSP extension: eight, five or four channels in each halfword.

    halfword[k] = sum over channels j of u[j][k] << bits * j,   u = w + 2**(bits - 1), but for the last channel u = w

No instruction unpacks them: masks make halfwords of fewer channels, and what the sums of two such halfwords differ by
is one channel's sum, shifted. `backends/cortex_m/c/bevel_positional.h` says how, and until when that is exact.
"""

from __future__ import annotations

import numpy as np

from bevel.backends.encodings import packing
from bevel.calib.arithmetic.requantize import Int8, Int32

CHANNELS = {2: 8, 3: 5, 4: 4}  # of one block, by their weights' bits


def blocks(channels: int, bits: int) -> int:
    return -(-channels // CHANNELS[bits])


def block_words(taps: int, bits: int) -> int:
    """int32 words of a block with `taps` taps, an even number: where its sums start, then two taps a word."""
    return CHANNELS[bits] + taps // 2


def obstacle(w: Int8, bias: Int32, bits: int) -> str | None:
    """Why w [n, taps] with bias [n] cannot be packed, or None."""
    half = 2 ** (bits - 1)
    if w.min() < -half or w.max() >= half:
        return f"weights from {w.min()} to {w.max()} are no {bits} bits in two's complement"
    least, greatest = packing.sum_range(w, bias)
    limit = np.int64(1) << (31 - bits * (np.arange(len(bias)) % CHANNELS[bits]))
    if (least < -limit).any() or (greatest >= limit).any():
        return "sums leave the bits that their place in a word has left"
    return None


def pack(w: Int8, bias: Int32, bits: int) -> Int32:
    """int32 [blocks, words] of w [n, taps] in the order of its activations, taps an even number."""
    channels, count = CHANNELS[bits], blocks(len(bias), bits)
    places = bits * np.arange(channels)
    missing = count * channels - len(bias)
    digits = np.pad(w.astype(np.int64), ((0, missing), (0, 0))).reshape(count, channels, -1)
    digits[:, :-1] += 2 ** (bits - 1)
    halfwords = (digits << places[:, np.newaxis]).sum(1) & 0xFFFF
    by_channel = np.pad(bias.astype(np.int64), (0, missing)).reshape(count, channels)
    starts = np.cumsum(by_channel << places, axis=1)
    return packing.to_words(np.concatenate([starts, halfwords[:, 0::2] | halfwords[:, 1::2] << 16], axis=1))


def unpack(packed: Int32, n: int, bits: int) -> tuple[Int8, Int32]:
    """w [n, taps] and bias [n] of `pack`."""
    channels = CHANNELS[bits]
    places = bits * np.arange(channels)
    starts = packed[:, :channels].astype(np.int64)
    bias = packing.to_words(np.diff(starts, axis=1, prepend=0)) >> places.astype(np.int32)
    halfwords = np.ascontiguousarray(packed[:, channels:]).view(np.int16).astype(np.int64)
    digits = halfwords[:, np.newaxis] >> places[:, np.newaxis]
    digits[:, :-1] = (digits[:, :-1] & (2**bits - 1)) - 2 ** (bits - 1)
    return digits.reshape(len(packed) * channels, -1)[:n].astype(np.int8), bias.reshape(-1)[:n].astype(np.int32)
