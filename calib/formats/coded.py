"""Integers as short codes: how weights of any format lie in a file and in flash.

    value = (table[code] - block_zeros[block_code]) * block_table[block_code]

A format of b bits has 2**b codes and a table of its integer steps (`bevel.calib.formats.levels`); formats with a scale
for every block of elements (OCP Microscaling Formats (MX) Specification v1.0, section 5) have a factor a block, which
is coded as well, and groups a zero point with it. Formats of one scale a channel have one block whose factor is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.levels import Levels
from bevel.calib.formats.scheme import PerBlock, PerTensor, parameter_shape, spread

MAX_CODES = 256


@dataclass(frozen=True, eq=False)
class Coded:
    """codes: uint8, the tensor's shape, each below len(table). bits: the width they are stored at, 1 to 8.
    table: int32 [codes there are]. blocks: PerBlock, or PerTensor for one block. block_codes: uint8, as many as there
    are blocks, shaped as `bevel.calib.formats.scheme.parameter_shape` says. block_table: int32 [block codes there are];
    block_zeros: the same, or None where all are 0.

    Raises ValueError for arrays that do not fit together.
    """

    codes: NDArray[np.uint8]
    bits: int
    table: NDArray[np.int32]
    blocks: PerTensor | PerBlock
    block_codes: NDArray[np.uint8]
    block_table: NDArray[np.int32]
    block_zeros: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.bits <= 8 and 1 <= len(self.table) <= 2**self.bits):
            raise ValueError(f"a table of {len(self.table)} values does not fit codes of {self.bits} bits")
        if self.block_codes.shape != (expected := parameter_shape(self.codes.shape, self.blocks)):
            raise ValueError(
                f"{self.blocks} of {self.codes.shape} has factors {expected}, not {self.block_codes.shape}"
            )
        for codes, table in ((self.codes, self.table), (self.block_codes, self.block_table)):
            if codes.dtype != np.uint8 or table.dtype != np.int32 or int(codes.max(initial=0)) >= len(table):
                raise ValueError("codes are uint8, each with an entry in an int32 table")

    def values(self) -> NDArray[np.int64]:
        """The integers: the shape of `codes`."""
        elements = self.table.astype(np.int64)[self.codes]
        if self.block_zeros is not None:
            elements -= self.of_blocks(self.block_zeros)
        result: NDArray[np.int64] = elements * self.of_blocks(self.block_table)
        return result

    def of_blocks(self, table: NDArray[np.int32]) -> NDArray[np.int64]:
        """What blocks have in a table of theirs, broadcastable against the codes."""
        return spread(table.astype(np.int64)[self.block_codes], self.codes.shape, self.blocks)

    @cached_property
    def occurring(self) -> NDArray[np.int64]:
        """The integers that occur, ascending: of all that the tables know, those that are used."""
        if not isinstance(self.blocks, PerTensor):
            return np.unique(self.values())
        used = np.flatnonzero(np.bincount(self.codes.ravel(), minlength=1))
        factor = int(self.block_table[self.block_codes])
        return np.unique(self.table[used].astype(np.int64) * factor)

    def times(self, factor: int) -> Coded:
        """Each integer times `factor`, which int32 holds."""
        if self.block_zeros is not None:
            return replace(self, block_table=(self.block_table.astype(np.int64) * factor).astype(np.int32))
        return replace(self, table=(self.table.astype(np.int64) * factor).astype(np.int32))

    def moved(self, move: Callable[[NDArray[Any]], NDArray[Any]]) -> Coded:
        """The same integers where `move`, which moves elements of any array, puts them.

        Raises ValueError for blocks, which it would tear apart.
        """
        if not isinstance(self.blocks, PerTensor):
            raise ValueError(f"elements of {self.blocks} stay together")
        return replace(self, codes=move(self.codes))

    def transpose(self, axes: Sequence[int]) -> Coded:
        """The same integers with their axes in the order of `axes`."""
        if isinstance(self.blocks, PerTensor):
            return replace(self, codes=self.codes.transpose(axes))
        places = [axis % self.codes.ndim for axis in axes]
        blocks = PerBlock(places.index(self.blocks.axis % self.codes.ndim), self.blocks.size)
        return replace(
            self, codes=self.codes.transpose(axes), blocks=blocks, block_codes=self.block_codes.transpose(axes)
        )

    def take(self, places: NDArray[np.intp], axis: int) -> Coded:
        """The integers at `places` along an axis, as numpy's take. Blocks along it become as long as neighbouring
        places share a factor throughout."""
        axis %= self.codes.ndim
        if isinstance(self.blocks, PerTensor):
            return replace(self, codes=self.codes.take(places, axis))
        if self.blocks.axis % self.codes.ndim != axis:
            return replace(self, codes=self.codes.take(places, axis), block_codes=self.block_codes.take(places, axis))
        of = places // self.blocks.size
        size = next(
            size for size in range(self.blocks.size, 0, -1) if (of == np.repeat(of[::size], size)[: len(of)]).all()
        )
        block_codes = self.block_codes.take(of[::size], axis)
        return replace(self, codes=self.codes.take(places, axis), blocks=PerBlock(axis, size), block_codes=block_codes)


def narrowest(integers: NDArray[Any]) -> np.dtype[Any]:
    """The narrowest of int8, int16 and int32 that holds all of `integers`. Raises ValueError where none does."""
    low, high = int(integers.min(initial=0)), int(integers.max(initial=0))
    for dtype in (np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.int32)):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    raise ValueError(f"integers from {low} to {high} do not fit int32")


def counted(values: NDArray[Any]) -> NDArray[np.int64]:
    """The integers that occur among `values`, ascending: for those that came without a coding."""
    return np.unique(values).astype(np.int64)


def coded(values: NDArray[Any], occurring: NDArray[Any] | None = None) -> Coded:
    """Integers of at most 256 distinct values, by the shortest codes there are for them; the table ascends.

    `occurring`: what they are, ascending, where it is known. Raises ValueError for more values than that.
    """
    table = counted(values) if occurring is None else occurring
    if len(table) > MAX_CODES:
        raise ValueError(f"{len(table)} distinct values do not fit codes of 8 bits")
    bits = max(1, (len(table) - 1).bit_length())
    one = np.ones(1, np.int32)
    codes = np.searchsorted(table, values).astype(np.uint8)
    return Coded(codes, bits, table.astype(np.int32), PerTensor(), np.zeros((), np.uint8), one)


def at_levels(steps: NDArray[Any], levels: Levels) -> Coded:
    """Steps of a format by their places among all that it has. Raises ValueError for what is none of them."""
    table = levels.array
    codes = np.searchsorted(table, steps).clip(0, len(table) - 1)
    if (table[codes] != steps).any():
        raise ValueError(f"there are steps which are none of the format's {len(table)}")
    one = np.ones(1, np.int32)
    bits = max(1, (len(table) - 1).bit_length())
    return Coded(codes.astype(np.uint8), bits, table.astype(np.int32), PerTensor(), np.zeros((), np.uint8), one)
