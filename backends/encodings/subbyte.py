"""Weights of fewer than eight bits as words of codes, decoded by the thousand and far cheaper than they are used.

    value = least + stride * code        or        value = table[code]

Four codes, as the bytes of one word, are what a kernel wants to decode at once. Eight such words become `bits` words,
which take one mask and one shift for each of them (the bits of a code are cut into planes of four, two and one, lowest
first, as `bits` is a sum of these):

      plane of 4:  four words, byte b of word i holds two codes   (word 2i, word 2i+1)
      plane of 2:  two words, byte b of word i holds four         (words 4i .. 4i+3)
      plane of 1:  one word, byte b holds eight                   (words 0 .. 7)

Tables of 16 values are looked up two codes at a time, so that their codes lie otherwise: the two of a halfword share a
byte. `backends/cortex_m/c/bevel_subbyte.h` reads both.

Which of a format's values occur decides on the codes (`Call.occurring`); a table is used where it makes weights smaller
than the range of their values would.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.requantize import Int8, Int32

UNIT = 8  # words of codes that are stored together, in `bits` words
PLANES = (4, 2, 1)
MAX_BITS = 7
LEAST_SAVING = 128  # bytes of flash below which the code that decodes is not worth having

Uint8 = NDArray[np.uint8]


@dataclass(frozen=True)
class SubbyteCodes:
    """Codes of `bits` bits. `tabled`: their values are in a table, and `stride` and `least` are 1 and 0."""

    bits: int
    stride: int = 1
    least: int = 0
    tabled: bool = False

    @property
    def table_bytes(self) -> int:
        return 2**self.bits if self.tabled else 0

    @property
    def paired(self) -> bool:
        """Whether two codes are looked up at once, in a table of all pairs."""
        return self.tabled and self.bits == 4

    def pack(self, codes: Uint8) -> Int32:
        """uint8 [..., words, 4], words a multiple of UNIT, as int32 [..., words // UNIT * bits]."""
        if not self.paired:
            return pack(codes, self.bits)
        pairs = (codes[..., 0::2] | codes[..., 1::2] << 4).reshape(*codes.shape[:-2], -1, 4)
        return words_of(pairs.astype(np.uint8)).view(np.int32)

    def unpack(self, stored: Int32) -> Uint8:
        """`pack` undone."""
        if not self.paired:
            return unpack(stored, self.bits)
        pairs = np.ascontiguousarray(stored, "<i4").view(np.uint8)
        return np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(*stored.shape[:-1], -1, 4)

    def of(self, values: Int8) -> tuple[Uint8, Int8]:
        """The codes of `values`, and the table: int8 [2**bits], or empty."""
        if not self.tabled:
            steps, rest = np.divmod(values.astype(np.int16) - self.least, self.stride)
            if rest.any() or steps.min() < 0 or steps.max() >= 2**self.bits:
                raise ValueError(f"{self} have no code for some of the weights: our bug")
            return steps.astype(np.uint8), np.zeros(0, np.int8)
        levels, codes = np.unique(values, return_inverse=True)
        table = np.pad(levels, (0, self.table_bytes - len(levels)), mode="edge").astype(np.int8)
        return codes.reshape(values.shape).astype(np.uint8), table

    def values(self, codes: Uint8, table: Int8) -> Int8:
        """`of` undone."""
        if self.tabled:
            return table[codes]
        return (codes.astype(np.int16) * self.stride + self.least).astype(np.int8)


def codes_for(values: Int8, occurring: NDArray[np.int64], tables: bool = True) -> SubbyteCodes | str:
    """The codes that make `values` smallest, or why eight bits are as good.

    `occurring`: the integers of the weights, ascending; as they are packed, zeros may fill them up."""
    filled = 0 not in occurring and not values.all()
    levels = np.sort(np.append(occurring, 0)) if filled else occurring
    by_range, by_table = affine(levels), SubbyteCodes(max(1, (len(levels) - 1).bit_length()), tabled=True)
    saved = {codes: values.size - stored_bytes(values.size, codes) for codes in (by_range, by_table)}
    best = by_table if tables and saved[by_table] > saved[by_range] else by_range
    if best.bits > MAX_BITS or saved[best] < max(LEAST_SAVING, values.size // 10):
        return f"{len(levels)} weights from {levels[0]} to {levels[-1]} are no smaller as codes"
    return best


def affine(levels: NDArray[Any]) -> SubbyteCodes:
    """Codes for ascending integers a stride apart; in two's complement where that is as short, so that layers agree."""
    stride = gcd(*(int(step) for step in np.diff(levels))) or 1
    bits = max(1, (int(levels[-1] - levels[0]) // stride).bit_length())
    half = 2 ** (bits - 1)
    if stride == 1 and levels[0] >= -half and levels[-1] < half:
        return SubbyteCodes(bits, least=-half)
    return SubbyteCodes(bits, stride, int(levels[0]))


def stored_bytes(count: int, codes: SubbyteCodes) -> int:
    return count * codes.bits // 8 + codes.table_bytes


def pack(codes: Uint8, bits: int) -> Int32:
    """uint8 [..., words, 4], words a multiple of UNIT, in planes: int32 [..., words // UNIT * bits]."""
    units = words_of(codes).reshape(*codes.shape[:-2], -1, UNIT)
    stored, taken = [], 0
    for plane in planes(bits):
        mask, together = np.uint32(0x01010101 * (2**plane - 1)), UNIT // plane
        part = (units >> np.uint32(taken) & mask).reshape(*units.shape[:-1], plane, together)
        places = np.arange(together, dtype=np.uint32) * np.uint32(plane)
        stored.append(np.bitwise_or.reduce(part << places, axis=-1))
        taken += plane
    joined = np.concatenate(stored, axis=-1)
    return joined.reshape(*codes.shape[:-2], -1).view(np.int32)


def unpack(stored: Int32, bits: int) -> Uint8:
    """`pack` undone."""
    units = np.ascontiguousarray(stored).view(np.uint32).reshape(*stored.shape[:-1], -1, bits)
    words, first, taken = np.zeros((*units.shape[:-1], UNIT), np.uint32), 0, 0
    for plane in planes(bits):
        mask, together = np.uint32(0x01010101 * (2**plane - 1)), UNIT // plane
        places = np.arange(together, dtype=np.uint32) * np.uint32(plane)
        part = units[..., first : first + plane, np.newaxis] >> places & mask
        words |= part.reshape(words.shape) << np.uint32(taken)
        first, taken = first + plane, taken + plane
    return words.astype("<u4").view(np.uint8).reshape(*stored.shape[:-1], -1, 4)


def sample_levels(codes: SubbyteCodes) -> Int8:
    """Some values that `codes` may stand for, zero among those of a table."""
    if not codes.tabled:
        return codes.values(np.arange(2**codes.bits, dtype=np.uint8), np.zeros(0, np.int8))
    middle = np.linspace(-127, 127, max(2, 2**codes.bits - 1)).astype(np.int8)[: 2**codes.bits - 1]
    return np.unique(np.append(middle, np.int8(0)))


def planes(bits: int) -> list[int]:
    return [plane for plane in PLANES if bits & plane]


def words_of(codes: Uint8) -> NDArray[np.uint32]:
    """uint8 [..., words, 4] as uint32 [..., words], the first byte lowest."""
    words: NDArray[np.uint32] = np.ascontiguousarray(codes).view("<u4")[..., 0].astype(np.uint32)
    return words
