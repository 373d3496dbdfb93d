"""What kernels share that compute a block of channels at once, one in each lane: bias and rescaling in blocks, and how
results are written.

bias         int32 [blocks, lanes]
rescaling    int32 [blocks, rows, lanes]: what an architecture rescales by
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bevel.backends.encodings.quads import BLOCK
from bevel.backends.program.op import Array, Operand, constant
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.expressions import store
from bevel.backends.vectors.packed import PackedWindows
from bevel.calib.arithmetic.requantize import Int8, Int32


@dataclass(frozen=True)
class PackedBlocks(PackedWindows):
    """Operands are x, w, bias and rescaling in blocks, y, then the image in scratch, unless windows can lie in x
    itself."""

    @property
    def lanes(self) -> int:
        """Channels of a block, a power of two."""
        return BLOCK

    @property
    @abstractmethod
    def rows(self) -> int:
        """Of rescaling."""

    @property
    def blocks(self) -> int:
        return blocks_of(self.channels, self.lanes)

    @property
    def blocked(self) -> tuple[Operand, Operand]:
        """Bias and rescaling."""
        return (
            constant("bias", (self.blocks, self.lanes), "int32"),
            constant("rescaling", (self.blocks, self.rows, self.lanes), "int32"),
        )

    @abstractmethod
    def rescaling_rows(self, multiplier: Int32, shift: Int8) -> tuple[Int32, ...]:
        """What `rescaled` takes of each channel."""

    @abstractmethod
    def rescaling_of(self, *rows: Array) -> tuple[Array, Array]:
        """The way back: multiplier and shift."""

    @abstractmethod
    def rescaled(self, sums: Any, rescaling: Any, block: Any) -> Any:
        """TIR of the outputs of a block of int32 sums."""

    def in_blocks(self, bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Int32, Int32]:
        """Channels that do not exist are 0, times 0."""
        room, size = (0, self.blocks * self.lanes - bias.size), (self.rows, self.blocks, self.lanes)
        stacked = np.stack([np.pad(row, room) for row in self.rescaling_rows(multiplier, shift)]).reshape(size)
        return np.pad(bias, room).reshape(size[1:]), np.ascontiguousarray(stacked.transpose(1, 0, 2))

    def from_blocks(self, packed: Sequence[Array]) -> tuple[Array, ...]:
        """Bias, multiplier and shift."""
        bias, rescaling = packed
        rows = (rescaling[:, row].reshape(-1)[: self.channels] for row in range(self.rows))
        return bias.reshape(-1)[: self.channels], *self.rescaling_of(*rows)

    def fresh(self, block: Any) -> Any:
        """TIR of the number of a block, by which a tile finds its constants."""
        return block

    def row(self, rescaling: Any, block: Any, row: int) -> Any:
        """TIR of a row of a block."""
        return rescaling[T.ramp((block * self.rows + row) * self.lanes, 1, self.lanes)]


def store_results(y: Any, places: Sequence[Any], results: Sequence[Any], count: int, lanes: int) -> None:
    """TIR that writes the first `count` outputs of a block of some pixels to their places in y.

    All are computed before the first is written, so that what rescales them is loaded once: y might overlap it, as far
    as LLVM knows.
    """
    kept = statements.alloc_buffer((len(places) * lanes,), str(y.dtype), scope="local")
    for pixel, result in enumerate(results):
        statements.buffer_store(kept, result, [T.ramp(pixel * lanes, 1, lanes)])
    for pixel, place in enumerate(places):
        store(y, place, kept[T.ramp(pixel * lanes, 1, lanes)], count, lanes)
