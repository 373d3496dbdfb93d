"""Inputs and weights that make transformed tiles as large as they can be (`bevel.backends.vectors.winograd`)."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.calib.arithmetic.requantize import Output

INPUTS = np.array(  # Lavin and Gray 2016, section 4.3
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
     [0, 4, 0, -5, 0, 1]]
)  # fmt: skip
WEIGHTS = np.array([[1, 0, 0], [1, 1, 1], [1, -1, 1], [1, 2, 4], [1, -2, 4], [0, 0, 1]])
CHANNELS = 8
EXTREME = Conv(
    height=6, width=6, channels_in=CHANNELS, channels_out=2 * 36, kernel=(3, 3), strides=(1, 1), dilations=(1, 1),
    pads=(0, 0, 0, 0), groups=1, x_zero_point=0, output=Output(5), batch=2 * 36,
)  # fmt: skip


def at_their_ends(rows: Array, low: int, high: int) -> Array:
    """[72, n, n]: what makes each place of a tile as large as it can be, and as small."""
    signs = np.stack([np.outer(one, other) for one, other in product(rows, rows)])
    return np.concatenate([np.where(signs * way > 0, high, low) for way in (1, -1)]).astype(np.int8)


def extreme() -> tuple[Array, ...]:
    """The input of `EXTREME`, and its constants."""
    x = np.repeat(at_their_ends(INPUTS, -128, 127)[..., np.newaxis], CHANNELS, axis=-1)
    w = np.repeat(at_their_ends(WEIGHTS, -128, 127)[..., np.newaxis], CHANNELS, axis=-1)
    outputs = EXTREME.channels_out
    bias, multiplier = np.arange(outputs, dtype=np.int32) << 22, np.full(outputs, 2**30 + 1, np.int32)
    return x, w, bias, multiplier, np.full(outputs, 44, np.int8)


def constant_weights(channels_in: int, weight: int) -> tuple[Conv, tuple[Array, ...]]:
    """8x8 pixels, 16 channels with the same weight everywhere, and biases that may take as many bits as sums."""
    plain = replace(EXTREME, batch=1, height=8, width=8, channels_in=channels_in, channels_out=16)
    w, bias = np.full((16, 3, 3, channels_in), weight, np.int8), np.full(16, 2**28, np.int32)
    return plain, (w, bias, np.full(16, 2**30 + 1, np.int32), np.full(16, 40, np.int8))
