"""Products of few bits by AND and population count: integers cut into planes of one bit, a word of them at a time.

With u = x - low, of which bit i is u_i, and weights w = base + stride * code, of whose code bit j is c_j,

    sum(x * w) = low * sum(w) + base * sum(u) + stride * sum over i, j of 2**(i + j) * popcount(u_i & c_j)

(Zhou et al. 2016, "DoReFa-Net", section 2.1; for one bit by one bit Rastegari et al. 2016, "XNOR-Net"). The first term
is known beforehand, the second is the same for all output channels.

Where counting is dear, words of equal weight are added first, as many one-bit additions side by side as they have bits:
three words become their sum and their carry, which weighs twice as much (Harley and Seal; Warren, "Hacker's Delight",
section 5-1). Products of all planes enter the same additions, each at its own weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.backends.program.op import Array

MOST_WEIGHT_BITS = 2


@dataclass(frozen=True)
class StridedCodes:
    """Weights base + stride * code, of codes of `bits` bits."""

    bits: int
    base: int
    stride: int

    def of(self, weights: Array) -> NDArray[np.int64]:
        codes: NDArray[np.int64] = (weights.astype(np.int64) - self.base) // self.stride
        return codes

    def weights(self, codes: Array) -> NDArray[np.int64]:
        values: NDArray[np.int64] = self.base + self.stride * codes.astype(np.int64)
        return values


def codes_for(levels: NDArray[np.int64]) -> StridedCodes | str:
    """The codes for weights of which `levels` occur, ascending, or why they take more than two bits."""
    stride = gcd(*(int(step) for step in np.diff(levels))) or 1
    bits = max(1, (int(levels[-1] - levels[0]) // stride).bit_length())
    if bits > MOST_WEIGHT_BITS:
        return f"{len(levels)} weights from {levels[0]} to {levels[-1]} take {bits} bits"
    return StridedCodes(bits, int(levels[0]), stride)


def planes_of(values: Array, bits: int, word: int) -> Array:
    """Unsigned integers [..., count] as planes: unsigned words [..., ceil(count / word), bits], lowest bit first."""
    padded = np.pad(values.astype(np.uint64), [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % word)])
    by_word = padded.reshape(*values.shape[:-1], -1, 1, word)
    ones = by_word >> np.arange(bits, dtype=np.uint64)[:, np.newaxis] & np.uint64(1)
    joined: Array = np.bitwise_or.reduce(ones << np.arange(word, dtype=np.uint64), axis=-1)
    return joined.astype(f"uint{word}")


def integers_of(planes: Array, count: int) -> NDArray[np.int64]:
    """The inverse of `planes_of`: [..., count]."""
    word, bits = planes.dtype.itemsize * 8, planes.shape[-1]
    ones = planes[..., np.newaxis].astype(np.uint64) >> np.arange(word, dtype=np.uint64) & np.uint64(1)
    weighed = (ones << np.arange(bits, dtype=np.uint64)[:, np.newaxis]).sum(axis=-2)
    integers: NDArray[np.int64] = weighed.reshape(*planes.shape[:-2], -1)[..., :count].astype(np.int64)
    return integers


Keep = Callable[[Any], Any]  # gives a value a name


def added(words: Iterable[tuple[int, Any]], keep: Keep) -> list[tuple[int, Any]]:
    """(level, word) pairs, whose bits weigh 2**level, as pairs of different levels with the same total.

    Words are taken one by one, and added as soon as there are three of a level, so that few wait at a time.
    """
    waiting: dict[int, list[Any]] = {}
    for level, word in words:
        waiting.setdefault(level, []).append(keep(word))
        while len(waiting[level]) == 3:
            a, b, c = waiting[level]
            either = keep(a ^ b)
            carry = keep((a & b) | (either & c))
            waiting[level] = [keep(either ^ c)]
            level += 1
            waiting.setdefault(level, []).append(carry)
    for level in count():
        if level > max(waiting):
            break
        here = waiting.get(level, [])
        while len(here) > 1:
            a, b, *others = here
            here = waiting[level] = [*others, keep(a ^ b)]
            waiting.setdefault(level + 1, []).append(keep(a & b))
    return [(level, word) for level, here in sorted(waiting.items()) for word in here]


def values_kept(levels: Iterable[int]) -> int:
    """How many values `added` keeps for words of these levels."""
    kept: list[int] = []

    def keep(value: int) -> int:
        kept.append(value)
        return value

    added(((level, 0) for level in levels), keep)
    return len(kept)
