"""How weights and rescaling are stored for instructions that add four products of bytes into a word.

Weights w[n, segments, bytes], for blocks of 16 outputs, `together` of them in a tile: each quad of four neighbouring
bytes of a segment, the last one filled up with zeros, meets 16 words of four weights each,

    [tiles][quads of all segments][together][16 outputs][4 bytes]

so that a tile reads its weights in one run through memory. Rescaling is stored for 64-bit products of even and of odd
lanes, as x86 multiplies them: eight rows of eight int64 for each block of 16 outputs, multiplier, 2**(shift - 1) and
shift of the even ones, then of the odd ones, and multiplier / 2**shift of all of them in order, as the bits of doubles.
Where that is `folded`, the zero point is part of what is added,

    z + ((p + 2**(s - 1)) >> s)  ==  (p + 2**(s - 1) + z * 2**s) >> s

and odd lanes are shifted by 32 less, so that results lie in their upper words. That wants shifts from 32 on, and zero
points that leave room for the product, which is below 2**62.

Where floats rescale (`bevel.backends.cpu.x86.floats`), it is five rows of 16 words for each block: scale, what is
added, bias, multiplier and shift, of which kernels read two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bevel.backends.program.shapes import blocks_of
from bevel.calib.arithmetic.requantize import Int8, Int32, Int64, Output

Float32 = NDArray[np.float32]

QUAD = 4  # bytes whose products an instruction adds up
PAIR = 2  # int16 whose products one adds up
BLOCK = 16  # outputs in one vector of words
BYTES = BLOCK * QUAD  # of the weights that a quad meets in a block
WORD_BITS = 32
ROWS = 8  # of eight int64
LANES = ROWS * BLOCK // 2  # int64 that rescale a block
SCALES = 6 * BLOCK // 2  # the first of them that is a double
FLOAT_ROWS = 5  # of 16 words
FLOAT_LANES = FLOAT_ROWS * BLOCK
FOLDED = 40  # the shift of outputs whose multiplier is 0
FLIP = 128  # x + FLIP of int8 is what it is as uint8


def pack_weights(w: Int8, together: int, quads: int) -> Int8:
    """int8 [n, segments, bytes] to int8 [tiles, segments * quads, together, 16, 4], zeros where n or a segment ends
    inside; quads: of a segment, at least as many as its bytes need."""
    n, segments, size = w.shape
    tiles = blocks_of(n, together * BLOCK)
    padded = np.pad(w, ((0, tiles * together * BLOCK - n), (0, 0), (0, quads * QUAD - size)))
    split = padded.reshape(tiles, together, BLOCK, segments * quads, QUAD)
    return np.ascontiguousarray(split.transpose(0, 3, 1, 2, 4))


def unpack_weights(packed: Int8, n: int, segments: int, size: int) -> Int8:
    tiles, quads, together, *_ = packed.shape
    flat = packed.transpose(0, 2, 3, 1, 4).reshape(tiles * together * BLOCK, segments, quads // segments * QUAD)
    return np.ascontiguousarray(flat[:n, :, :size])


def in_pairs(packed: Int8) -> Int8:
    """Quads of 16 outputs as two pairs of each, [..., 16, 4] as [..., 2, 16, 2]: for inputs of int16."""
    pairs = packed.reshape(*packed.shape[:-1], QUAD // PAIR, PAIR)
    return np.ascontiguousarray(np.moveaxis(pairs, -2, -3))


def in_quads(pairs: Int8) -> Int8:
    """The way back."""
    quads = np.moveaxis(pairs, -3, -2)
    return np.ascontiguousarray(quads.reshape(*quads.shape[:-2], QUAD))


def pack_bias(bias: Int32, weights_sums: Int64, blocks: int) -> Int32:
    """Of sums over uint8 inputs, each `FLIP` more than it stands for: int32 [blocks, 16], modulo 2**32."""
    moved = (bias.astype(np.int64) - FLIP * weights_sums).astype(np.int32)
    return np.pad(moved, (0, blocks * BLOCK - bias.size)).reshape(blocks, BLOCK)


def unpack_bias(packed: Int32, weights_sums: Int64) -> Int32:
    n = weights_sums.size
    return (packed.reshape(-1)[:n].astype(np.int64) + FLIP * weights_sums).astype(np.int32)


def folds(multiplier: Int32, shift: Int8, output: Output) -> bool:
    """Whether zero points and the shifts of odd lanes may be `folded`."""
    alive = shift[multiplier != 0].astype(np.int64)
    reach = abs(output.zero_point) << int(alive.max(initial=FOLDED))
    return not output.even and bool((alive >= WORD_BITS).all()) and reach <= 2**61


def pack_rescaling(multiplier: Int32, shift: Int8, blocks: int, folded: int | None = None) -> Int64:
    """int64 [blocks, 8, 8]; outputs that do not exist are multiplied by 0. folded: the zero point, if it is to be."""
    room = (0, blocks * BLOCK - multiplier.size)
    wide, by = np.pad(multiplier.astype(np.int64), room), np.pad(shift.astype(np.int64), room, constant_values=62)
    less = 0
    if folded is not None:
        by, less = np.where(wide == 0, FOLDED, by), WORD_BITS
    added = (np.int64(1) << (by - 1)) + (np.int64(folded or 0) << by)
    scales = np.ldexp(wide.astype(np.float64), -by).view(np.int64).reshape(blocks, 2, BLOCK // 2)
    lanes = [one.reshape(blocks, BLOCK // 2, 2)[:, :, odd] - of * odd for odd in (0, 1)
             for one, of in ((wide, 0), (added, 0), (by, less))]  # fmt: skip
    return np.ascontiguousarray(np.concatenate([np.stack(lanes, axis=1), scales], axis=1))


def unpack_rescaling(packed: Int64, n: int, folded: bool = False) -> tuple[Int32, Int8]:
    even, odd = packed[:, :3], packed[:, 3:6]
    flat: NDArray[np.int64] = np.stack([even, odd], axis=-1).transpose(1, 0, 2, 3).reshape(3, -1)[:, :n]
    shift = flat[2] + (np.arange(n) % 2 * WORD_BITS if folded else 0)
    return flat[0].astype(np.int32), shift.astype(np.int8)


def pack_floats(bias: Int32, multiplier: Int32, shift: Int8, floats: Sequence[Float32], blocks: int) -> Int32:
    """int32 [blocks, 5, 16]; floats: scales, and what is added."""
    words = [*(one.view(np.int32) for one in floats), bias, multiplier, shift.astype(np.int32)]
    rows = [np.pad(one, (0, blocks * BLOCK - multiplier.size)).reshape(blocks, BLOCK) for one in words]
    return np.ascontiguousarray(np.stack(rows, axis=1))


def unpack_floats(packed: Int32, n: int) -> tuple[Int32, Int32, Int8]:
    """Biases, multipliers, shifts."""
    bias, multiplier, shift = (packed[:, row].reshape(-1)[:n] for row in range(2, FLOAT_ROWS))
    return bias, multiplier, shift.astype(np.int8)
