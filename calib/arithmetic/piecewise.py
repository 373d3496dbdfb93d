"""Functions of one 16-bit integer as straight lines between codes: what stands for a table of 65536 entries.

The codes, counted from the lowest as u = x + 2**15, lie in blocks of 2**block. Each block is cut into equal segments of
2**bits codes, as many as its own curvature asks for, and each segment is a line from `left` at its first code to
`right` at the first code behind it, both with `fraction` bits behind the point:

    y = store((left * 2**bits + (right - left) * offset + half) >> (bits + fraction)),  half = 2**(bits + fraction) / 2

A segment of one code is its entry, so that steps and poles are as exact as the rest. A block's segments are the longest
that keep every code within `tolerance` steps of the function's value. TensorFlow Lite's 16-bit tables have 512 segments
of one length, which misses a kink by many steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.requantize import Output

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

DOMAIN_BITS = 16
LOWEST = -(2 ** (DOMAIN_BITS - 1))
BLOCKS = range(6, 13)  # lengths of a block, as powers of two
BITS_OF_LENGTH = 16  # an entry of a block is 16 times its first segment, plus the length of its segments
MOST_SEGMENTS = 2**12
# Steps of the result; rounding alone takes half of one. Two steps of int16 halve the segments that one step takes, and
# are a hundredth of a step of int8.
TOLERANCE = {"int16": 2.0, "int8": 0.6}
COARSER = 1.5
END = (-(2**15), 2**15 - 1)


@dataclass(frozen=True, eq=False)
class Piecewise:
    """blocks: uint16 [2**16 / 2**block], 16 * first segment + bits; ends: int16 [segments, 2], left and right.

    error: the largest distance of a result from the function's value, in steps of the result.
    """

    block: int
    fraction: int
    blocks: NDArray[np.uint16]
    ends: NDArray[np.int16]
    error: float

    @property
    def bytes(self) -> int:
        return self.blocks.nbytes + self.ends.nbytes


def evaluate(x: NDArray[Any], blocks: NDArray[Any], ends: NDArray[Any], block: int, fraction: int) -> Int64:
    """The function of the codes `x`, before zero point and clamp are applied (`Output.store` with zero point 0)."""
    u = x.astype(np.int64) - LOWEST
    entry = blocks.astype(np.int64)[u >> block]
    bits = entry % BITS_OF_LENGTH
    within = u & ((1 << block) - 1)
    left, right = np.moveaxis(ends.astype(np.int64)[entry // BITS_OF_LENGTH + (within >> bits)], -1, 0)
    offset = within & ((np.int64(1) << bits) - 1)
    half = (np.int64(1) << (bits + fraction)) >> 1
    result: Int64 = ((left << bits) + (right - left) * offset + half) >> (bits + fraction)
    return result


def piecewise(values: Floats, output: Output) -> Piecewise:
    """The segments of a function whose value at each of the 65536 codes, zero point included, is given in output steps.

    Values beyond what `output` stores are what it stores. Where `MOST_SEGMENTS` do not keep every code within
    `TOLERANCE`, the tolerance is raised until they do.
    """
    wanted = np.clip(values, output.low, output.high)
    fraction = 0 if output.dtype == "int16" else DOMAIN_BITS // 2
    tolerance = TOLERANCE[output.dtype]
    fits = [fit(wanted, bits, fraction, output) for bits in range(max(BLOCKS) + 1)]
    while True:
        made = [cut(fits, block, tolerance) for block in BLOCKS]
        fitting = [one for one in made if len(one[1]) <= MOST_SEGMENTS]
        if fitting:
            blocks, ends = min(fitting, key=lambda one: one[0].nbytes + one[1].nbytes)
            block = DOMAIN_BITS - (len(blocks) - 1).bit_length()
            codes = np.arange(2**DOMAIN_BITS) + LOWEST
            results = np.clip(evaluate(codes, blocks, ends, block, fraction), output.low, output.high)
            return Piecewise(block, fraction, blocks, ends, float(np.abs(results - wanted).max()))
        tolerance *= COARSER


@dataclass(frozen=True, eq=False)
class LineFit:
    """Segments of one length over the whole domain: ends [segments, 2], the largest error of each [segments]."""

    ends: Int64
    errors: Floats


def fit(wanted: Floats, bits: int, fraction: int, output: Output) -> LineFit:
    """The line of least maximal error among those of a segment's own slope, its ends rounded."""
    lines = wanted.reshape(-1, 2**bits)
    offsets = np.arange(2**bits)
    last = max(2**bits - 1, 1)
    slope = (lines[:, -1] - lines[:, 0]) / last
    beside = lines - lines[:, :1] - slope[:, None] * offsets
    left = lines[:, 0] + (beside.max(axis=1) + beside.min(axis=1)) / 2
    right = left + slope * 2**bits if bits else left
    ends = np.clip(np.rint(np.stack([left, right], axis=1) * 2**fraction), *END).astype(np.int64)
    half = 2 ** (bits + fraction) >> 1
    sums = (ends[:, :1] << bits) + (ends[:, 1:] - ends[:, :1]) * offsets + half
    results = np.clip(sums >> (bits + fraction), output.low, output.high)
    return LineFit(ends, np.abs(results - lines).max(axis=1))


def cut(fits: list[LineFit], block: int, tolerance: float) -> tuple[NDArray[np.uint16], NDArray[np.int16]]:
    """Blocks of 2**block codes, each in the longest segments that keep within `tolerance`, if any do."""
    count = 2 ** (DOMAIN_BITS - block)
    chosen = np.zeros(count, np.int64)
    for bits in range(1, block + 1):
        within = fits[bits].errors.reshape(count, -1).max(axis=1) <= tolerance
        chosen[within] = bits
    ends = [fits[bits].ends.reshape(count, -1, 2)[index] for index, bits in enumerate(chosen)]
    firsts = np.cumsum([0, *(len(one) for one in ends)])
    blocks = (firsts[:-1] * BITS_OF_LENGTH + chosen) & 0xFFFF
    return blocks.astype(np.uint16), np.concatenate(ends).astype(np.int16)
