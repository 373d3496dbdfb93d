"""What a depthwise convolution on halfword pairs needs of its constants: weights in pairs, and large enough shifts.

Weights come oriented: int8 [channels, taps across, taps along], "along" being the axis in which a word holds two
pixels. With stride 1 the pairs (w0 w1) (w1 w2) (w2 w3) ... serve two neighbouring outputs in turn; otherwise it is
(w0 w1) (w2 w3) ... . Where the taps end, a weight of zero fills the last pair. Four bytes hold two pairs, as SXTB16 of
a word, and of the word rotated by a byte, takes them out:

      byte     0      1      2      3
            p.low  q.low  p.high q.high
"""

from __future__ import annotations

import numpy as np

from bevel.backends.dsp import LEAST_SHIFT, MOST_SHIFT
from bevel.backends.kernel import Array


def taps_of_pairs(taps: int, stride: int) -> Array:
    """Which taps make each pair, [an even number of pairs, 2]; a number of `taps` or more is a weight of zero."""
    pairs = 2 * max(1, taps // 2) if stride == 1 else 2 * -(-taps // 4)
    first = np.arange(pairs) if stride == 1 else 2 * np.arange(pairs)
    return np.stack([first, first + 1], axis=1)


def packed_pairs(oriented: Array, stride: int) -> Array:
    """int32 [channels, taps across, words] of oriented weights."""
    taps = oriented.shape[2]
    ended = np.pad(oriented, ((0, 0), (0, 0), (0, 1)))
    halves = ended[..., np.minimum(taps_of_pairs(taps, stride), taps)]
    by_word = halves.reshape(*halves.shape[:2], -1, 2, 2).swapaxes(-1, -2)
    words: Array = np.ascontiguousarray(by_word).reshape(*halves.shape[:2], -1).view("<i4").astype(np.int32)
    return words


def unpacked_pairs(words: Array, taps: int, stride: int) -> Array:
    """`packed_pairs` undone: int8 [channels, taps across, taps along]."""
    by_word = np.ascontiguousarray(words, "<i4").view(np.int8).reshape(*words.shape, 2, 2)
    halves = by_word.swapaxes(-1, -2).reshape(*words.shape[:2], -1)
    places = np.unique(taps_of_pairs(taps, stride), return_index=True)[1][:taps]
    oriented: Array = halves[..., places]
    return oriented


def largest_accumulators(w: Array, bias: Array) -> Array:
    """No accumulator of a channel is further from zero: int64 [channels]."""
    bound: Array = np.abs(bias.astype(np.int64)) + 128 * np.abs(w.astype(np.int64)).sum((1, 2, 3))
    return bound


def without_dead_channels(w: Array, bias: Array, multiplier: Array, shift: Array) -> tuple[Array, Array]:
    """Multipliers and shifts, with (0, 33) where every accumulator there can be is rescaled to zero."""
    product = largest_accumulators(w, bias) * multiplier.astype(np.int64)
    dead = product < np.int64(1) << (shift.astype(np.int64) - 1)
    return np.where(dead, 0, multiplier).astype(np.int32), np.where(dead, LEAST_SHIFT, shift).astype(np.int8)


def needed_raise(w: Array, bias: Array, multiplier: Array, shift: Array) -> int | str:
    """How far to shift all accumulators left so that each is rescaled by its product's upper word, or why none will."""
    shifts = without_dead_channels(w, bias, multiplier, shift)[1].astype(np.int64)
    raised = max(0, LEAST_SHIFT - int(shifts.min()))
    if int(shifts.max()) + raised > MOST_SHIFT:
        return "the output scales of its channels are too far apart"
    if int(largest_accumulators(w, bias).max()) << raised >= 2**31:
        return "an accumulator may be too large for a ratio above 1/4"
    return raised
