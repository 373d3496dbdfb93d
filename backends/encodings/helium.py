"""How constants are stored for kernels that use Helium (MVE, Arm's vectors of 16 bytes or 4 words).

Weights w[n, k], for a tile of `tile` outputs n and 16 products at a time, are cut into blocks, zeros where n or k ends
inside one:

               k 0..15     k 16..31                 block 0         block 1
      n 0    [ a a a a a | A A A A A ]   ->   aaaaa bbbbb ..  AAAAA BBBBB ..   then the next `tile` outputs
      n 1    [ b b b b b | B B B B B ]

so that a tile's vectors are loaded in one run through memory. The sums of four outputs are rescaled as one vector by
four words of bias, four of multiplier, four bytes of 32 - shift (the amount of a shift to the left that follows the
upper half of the product) and, in a `lifted` kernel, four bytes of an amount to shift the sum by before it is
multiplied: a shift below 33 becomes 33 with the sum larger by as many bits, which must not overflow.
"""

from __future__ import annotations

import numpy as np

from bevel.backends.program.op import Array
from bevel.backends.program.shapes import blocks_of
from bevel.calib.arithmetic.requantize import Int8, Int32, Output

LANES = 16  # bytes in a vector
WORDS = 4  # words in a vector
LEAST_SHIFT = 33  # below this the rounding bit of a product is not in its upper word


def pack_weights(w: Int8, tile: int) -> Int8:
    """int8 [n, k] to int8 [n / tile, k / 16, tile, 16], both rounded up."""
    n, k = w.shape
    outputs, blocks = blocks_of(n, tile), blocks_of(k, LANES)
    padded = np.pad(w, ((0, outputs * tile - n), (0, blocks * LANES - k)))
    return np.ascontiguousarray(padded.reshape(outputs, tile, blocks, LANES).transpose(0, 2, 1, 3))


def unpack_weights(packed: Int8, n: int, k: int) -> Int8:
    outputs, blocks, tile, lanes = packed.shape
    return np.ascontiguousarray(packed.transpose(0, 2, 1, 3).reshape(outputs * tile, blocks * lanes)[:n, :k])


def rescaling_shape(n: int, lifted: bool, tile: int = WORDS) -> tuple[int, int]:
    return (blocks_of(n, tile) * tile // WORDS, 10 if lifted else 9)


def pack_rescaling(bias: Int32, multiplier: Int32, shift: Int8, lifted: bool, tile: int = WORDS) -> Int32:
    """The words above, int32 [n / 4, 9 or 10], zeros where n ends inside a tile. `shift`s are 33 or more unless
    `lifted`."""
    lift = np.maximum(LEAST_SHIFT - shift, 0)
    room = rescaling_shape(bias.size, lifted, tile)[0] * WORDS
    right, left = (32 - shift - lift).astype(np.int8), lift.astype(np.int8)
    columns: list[Array] = [bias, multiplier, right, *([left] if lifted else [])]
    words = [np.pad(column, (0, room - bias.size)).reshape(-1, WORDS).view(np.int32) for column in columns]
    return np.concatenate(words, axis=1)


def unpack_rescaling(packed: Int32, n: int) -> tuple[Int32, Int32, Int8]:
    """bias, multiplier and shift of `n` outputs."""
    right, left = (np.ascontiguousarray(packed[:, word : word + 1]).view(np.int8).reshape(-1) for word in (8, 9))
    shift = 32 - right - (left if left.size else 0)
    return packed[:, :4].reshape(-1)[:n], packed[:, 4:8].reshape(-1)[:n], shift[:n].astype(np.int8)


def scaling(lifted: bool, output: Output) -> int:
    """`lifted` of `backends/cortex_m/c/bevel_mve.h`."""
    return int(lifted) + 2 * int(output.power)


TIES = "its sums may lie on halves, which go to the even integer; these vectors do so for ratios that are powers of two"


def needs_lift(w: Array, bias: Array, shift: Int8) -> bool | str:
    """Whether some sum of w[n, k] with int8 activations must be made larger before it is multiplied, or the reason why
    it must not: it might overflow."""
    lift = np.maximum(LEAST_SHIFT - shift.astype(np.int64), 0)
    bound = 128 * np.abs(w.astype(np.int64)).sum(axis=1) + np.abs(bias.astype(np.int64))
    worst = int((bound << lift).max())
    if worst >= 2**31:
        return f"a sum of up to {int(bound[(bound << lift).argmax()])} is multiplied by 1/4 or more: no room in 32 bits"
    return bool(lift.any())


def without_lift(shift: Int8) -> Int8:
    """`shift`s that need no lift, for examples."""
    return np.maximum(shift, LEAST_SHIFT).astype(np.int8)


def example_rescaling(bias: Int32, multiplier: Int32, shift: Int8, lifted: bool, tile: int = WORDS) -> Int32:
    return pack_rescaling(bias, multiplier, shift if lifted else without_lift(shift), lifted, tile)
