"""Weights as short codes in flash: how they are packed, and how a kernel decodes them.

Eight codes fill as many bytes as a code has bits, lowest bit of the first code first (`bevel.calib.formats.packing`),
so that a kernel decodes them eight at a time with shifts that are known when it is compiled. These eight are not
neighbours but `lanes` apart, as are their bytes: what is done for one lane is done for its neighbours in vectors, where
there are any.

        3 bits, 4 lanes    byte 0..3           4..7                    8..11
                           codes 0..3 | 4..7 | 8..11 (2 bits) ...             of lanes 0, 1, 2, 3

Most integer formats need no table: the code of an integer is what it lies above the lowest one, and binary's -1 and 1
are 0 and 1.

        bits   1    2         3         4         ...   16
        value  ±1   -2 .. 1   -4 .. 3   -8 .. 7         -32768 .. 32767
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bevel.backends.program.op import Array
from bevel.calib.formats.coded import MAX_CODES, Coded, coded
from bevel.calib.formats.packing import pack_bits, unpack_bits
from bevel.calib.formats.scheme import PerBlock, PerTensor

CODES = 8  # that are decoded together
LANES = 16  # as many bytes as most vectors have
MAX_BITS = 16


@dataclass(frozen=True)
class Coding:
    """Codes of `bits` bits for weights of type `dtype`. `tabled`: a table [2**bits] of `dtype` says what they mean.
    `block`: how many neighbouring input channels share a factor, one of `factors` in a table; 0 where there is none.
    `zeros`: whether they share a zero point, too, which is taken off before: as many, behind the factors."""

    bits: int
    dtype: str
    tabled: bool = False
    block: int = 0
    factors: int = 0
    zeros: bool = False

    @property
    def block_entries(self) -> int:
        """Of the table of blocks."""
        return 2 * self.factors if self.zeros else self.factors

    @property
    def low(self) -> int:
        """The integer of code 0, where there is no table."""
        return -(1 << (self.bits - 1))

    def decode(self, codes: Array, table: Array | None) -> NDArray[np.int64]:
        """The integers of codes, before their factors."""
        if table is not None:
            return table.astype(np.int64)[codes]
        wide = codes.astype(np.int64)
        return 2 * wide - 1 if self.bits == 1 else wide + self.low


class CodedWeights(NamedTuple):
    """Weights by `coding`: their codes, the table if it has one, and for each block the code of its factor."""

    coding: Coding
    codes: NDArray[np.uint16]
    table: Array | None = None
    block_codes: NDArray[np.uint8] | None = None
    block_table: Array | None = None

    def values(self) -> NDArray[np.int64]:
        """The integers, shaped as the codes, whose last axis the blocks lie along."""
        values = self.coding.decode(self.codes, self.table)
        if self.block_codes is None or self.block_table is None:
            return values
        tables = self.block_table.astype(np.int64).reshape(-1, self.coding.factors)
        spread = tables[:, self.block_codes].repeat(self.coding.block, axis=-1)[..., : values.shape[-1]]
        found: NDArray[np.int64] = (values - spread[1] if self.coding.zeros else values) * spread[0]
        return found


def shortest(weights: Array, occurring: NDArray[np.int64]) -> CodedWeights:
    """Integers by the shortest codes there are for them, without a table where that is as short.

    `occurring`: which they are, ascending. Raises ValueError for more than 256 of which some are no int16.
    """
    plain, shortest_table = plain_bits(occurring), max(1, (len(occurring) - 1).bit_length())
    if plain <= MAX_BITS and (len(occurring) > MAX_CODES or plain <= shortest_table):
        return without_table(weights, plain)
    return of_coded(coded(weights, occurring))


def of_coded(weights: Coded) -> CodedWeights:
    """Weights of a format with its own codes; blocks lie along the last axis.

    A format of plain integers without factors takes no table. Raises ValueError for blocks along another axis.
    """
    match weights.blocks:
        case PerTensor() if int(weights.block_table[weights.block_codes]) == 1:
            return of_values(weights)
        case PerBlock(axis, size) if axis in (-1, weights.codes.ndim - 1):
            return of_blocks(weights, size)
        case other:
            raise ValueError(f"weights with {other} have no kernel: blocks lie along the input channels")


def of_values(weights: Coded) -> CodedWeights:
    if plain_bits(weights.occurring) <= weights.bits:
        return without_table(weights.values(), weights.bits)
    coding = Coding(weights.bits, smallest_dtype(weights.table), tabled=True)
    return CodedWeights(coding, weights.codes.astype(np.uint16), filled(weights.table, 2**weights.bits, coding.dtype))


def of_blocks(weights: Coded, size: int) -> CodedWeights:
    """Elements in a table too, unless they are plain integers."""
    elements = weights.table.astype(np.int64)[weights.codes]
    zeros = () if weights.block_zeros is None else (weights.block_zeros,)
    dtype = smallest_dtype(weights.values(), weights.table, weights.block_table, *zeros)
    levels = 1 << (len(weights.block_table) - 1).bit_length()
    factors = np.concatenate([filled(one, levels, dtype) for one in (weights.block_table, *zeros)])
    if plain_bits(elements) <= weights.bits:
        codes, table = without_table(elements, weights.bits).codes, None
    else:
        codes, table = weights.codes.astype(np.uint16), filled(weights.table, 2**weights.bits, dtype)
    coding = Coding(weights.bits, dtype, table is not None, size, levels, bool(zeros))
    return CodedWeights(coding, codes, table, weights.block_codes, factors)


def without_table(values: Array, bits: int) -> CodedWeights:
    coding = Coding(bits, smallest_dtype(np.array([-(1 << (bits - 1)), (1 << (bits - 1)) - 1])))
    wide = values.astype(np.int64)
    codes = (wide + 1) // 2 if bits == 1 else wide - coding.low
    return CodedWeights(coding, codes.astype(np.uint16))


def plain_bits(values: Array) -> int:
    """The bits that `values` take without a table."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if (abs(values) == 1).all():
        return 1
    return max(2, 1 + max(high.bit_length(), max(-low - 1, 0).bit_length()))


def smallest_dtype(*arrays: Array) -> str:
    """The smallest signed type that holds every element. Raises ValueError where int32 does not."""
    low, high = min(int(a.min()) for a in arrays), max(int(a.max()) for a in arrays)
    for dtype in ("int8", "int16", "int32"):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    raise ValueError(f"weights from {low} to {high} do not fit int32")


def filled(table: Array, size: int, dtype: str) -> Array:
    """`table` with its last entry repeated: layers that use fewer codes of a format share a kernel."""
    return np.pad(table, (0, size - len(table)), mode="edge").astype(dtype)


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of `count` codes with what fills up the last eight."""
    return -(-count // CODES) * bits


def lanes_of(count: int) -> int:
    """The most lanes, a power of two, in which `count` codes lie without more to fill up."""
    eights = -(-count // CODES)
    return min(LANES, eights & -eights)


def pack(codes: Array, bits: int) -> NDArray[np.uint8]:
    """Codes [runs, count], each run on its own, in the lanes of `lanes_of`: [runs, packed_bytes]."""
    runs, count = codes.shape
    padded = np.pad(codes, ((0, 0), (0, -count % CODES)))
    by_lane = padded.reshape(runs, -1, CODES, lanes_of(count)).swapaxes(2, 3)
    return pack_bits(by_lane, bits).reshape(runs, -1, lanes_of(count), bits).swapaxes(2, 3).reshape(runs, -1)


def unpack(packed: NDArray[np.uint8], count: int, bits: int) -> NDArray[np.int32]:
    """The codes of `pack`: [runs, count]."""
    runs, lanes = len(packed), lanes_of(count)
    by_lane = packed.reshape(runs, -1, bits, lanes).swapaxes(2, 3)
    codes = unpack_bits(by_lane, packed.size // bits * CODES, bits, signed=False)
    return codes.reshape(runs, -1, lanes, CODES).swapaxes(2, 3).reshape(runs, -1)[:, :count]


def example(rng: np.random.Generator, shape: tuple[int, ...], coding: Coding) -> CodedWeights:
    """Seeded codes and tables of any value, the first and last code among them; products with factors fit the type."""
    codes = rng.integers(0, 2**coding.bits, shape).astype(np.uint16)
    codes.flat[0], codes.flat[-1] = 0, 2**coding.bits - 1
    largest = int(np.iinfo(coding.dtype).max)
    highest = int(largest**0.5) if coding.block else largest
    table = rng.integers(-highest, highest + 1, 2**coding.bits).astype(coding.dtype) if coding.tabled else None
    if not coding.block:
        return CodedWeights(coding, codes, table)
    elements = int(np.abs(coding.decode(np.arange(2**coding.bits), table)).max())
    factors = rng.integers(1, largest // (2 * elements if coding.zeros else elements) + 1, coding.block_entries)
    if coding.zeros:
        factors[coding.factors :] = rng.integers(-elements, elements, coding.factors)
    factors = factors.astype(coding.dtype)
    blocks = (*shape[:-1], -(-shape[-1] // coding.block))
    return CodedWeights(coding, codes, table, rng.integers(0, coding.factors, blocks).astype(np.uint8), factors)
