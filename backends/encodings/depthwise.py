"""Depthwise weights as a convolution on halfword pairs wants them.

Weights come oriented: int8 [channels, taps across, taps along], "along" being the axis in which a word holds two
pixels. With stride 1 the pairs (w0 w1) (w1 w2) (w2 w3) ... serve two neighbouring outputs in turn; otherwise it is
(w0 w1) (w2 w3) ... . Where the taps end, a weight of zero fills the last pair. Four bytes hold two pairs, as SXTB16 of
a word, and of the word rotated by a byte, takes them out:

      byte     0      1      2      3
            p.low  q.low  p.high q.high
"""

from __future__ import annotations

import numpy as np

from bevel.backends.program.op import Array


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
