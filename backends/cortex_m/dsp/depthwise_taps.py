"""What a depthwise convolution for the DSP extension is made of: pairs of a channel's pixels, and their products.

`depthwise_dsp.py` says how they lie.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bevel.backends.cortex_m.dsp.dsp import LANES, call, load_word
from bevel.backends.tir.lazy import T


class Axis(NamedTuple):
    """One image axis: `size` pixels, `step` pixels apart in memory."""

    size: int
    step: int
    taps: int
    stride: int
    dilation: int
    before: int
    outputs: int
    output_step: int


class PaddedImage(NamedTuple):
    """Pixels along an axis: of how many channels, of which `lanes` are read, and what stands for those outside."""

    along: Axis
    channels: int
    lanes: int
    zero_point: int


def pair_of(value: int) -> int:
    """`value` in both halfwords of an int32."""
    return int(np.array([value, value], np.int16).view(np.int32)[0])


def side_by_side(X: Any, source: Any, column: Any, lane: Any, image: PaddedImage, guarded: bool) -> Any:
    """One lane's pixels `column` and the next as a pair; `guarded` where either may be outside the image."""
    along, channels, lanes, zero_point = image

    def pixel(at: Any) -> Any:
        place = source + at * (along.step * channels)
        if lanes == LANES:
            word = load_word(X, place)
            outside = T.int32(int(np.full(LANES, zero_point, np.int8).view(np.int32)[0]))
        else:
            word, outside = T.cast(X[place + lane], "int32"), T.int32(zero_point)
        return T.if_then_else(T.And(at >= 0, at < along.size), word, outside) if guarded else word

    left, right = pixel(column), pixel(column + 1)
    return call("lane_pair", left, right, lane) if lanes == LANES else call("pkhbt", left, right)


def widened(which: str, word: Any, least: int) -> Any:
    """Bytes 0 and 2 of a word, or the odd ones, as halfwords with `least` added."""
    return call("sxtab16" + which, pair_of(least), word) if least else call("sxtb16" + which, word)


def first_of_two(P: Any, source: Any, K: Any, weight: Any, total: Any, taps: int) -> Any:
    """`total` and a row's products for the output whose first tap is the lower half of the word at `source`."""
    if taps == 1:
        return call("smlabb", P[source], K[weight], total)
    for j in range(taps // 2):
        total = call("smlad", P[source + j], K[weight + 2 * j], total)
    return call("smlabt", P[source + taps // 2], K[weight + taps - 2], total) if taps % 2 else total


def second_of_two(P: Any, source: Any, K: Any, weight: Any, total: Any, taps: int) -> Any:
    """`total` and a row's products for the output whose first tap is the upper half of the word at `source`."""
    total = call("smlatb", P[source], K[weight], total)
    for j in range((taps - 1) // 2):
        total = call("smlad", P[source + j + 1], K[weight + 2 * j + 1], total)
    return total if taps % 2 else call("smlabt", P[source + taps // 2], K[weight + taps - 2], total)


def one_alone(P: Any, source: Any, K: Any, weight: Any, total: Any, taps: int) -> Any:
    """`total` and a row's products for the output whose first tap is the lower half of the word at `source`."""
    for j in range((taps + 1) // 2):
        total = call("smlad", P[source + j], K[weight + j], total)
    return total


def row_of_products(along: Axis) -> Any:
    """A TIR macro (A, P, source, K, weight, count): adds a row's products to `count` sums of neighbouring outputs."""

    @T.macro
    def by_twos(A, P, source, K, weight, count):
        for h in T.unroll((count + 1) // 2):
            A[2 * h] = first_of_two(P, source + h, K, weight, A[2 * h], along.taps)
            if 2 * h + 1 < count:
                A[2 * h + 1] = second_of_two(P, source + h, K, weight, A[2 * h + 1], along.taps)

    @T.macro
    def by_ones(A, P, source, K, weight, count):
        for t in T.unroll(count):
            A[t] = one_alone(P, source + t * (along.stride // 2), K, weight, A[t], along.taps)

    return by_twos if along.stride == 1 else by_ones
