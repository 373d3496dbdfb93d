"""A step of the overlay's program: the words of its tile, as `bevel_tile_loader.v` takes them apart.

A tile is what weights of `lanes` outputs are read once for: of a convolution, that many channels of all pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bevel.backends.program.op import Array
from bevel.calib.arithmetic.requantize import Output

FIELDS = 36  # numbers of 16 bits in a header
LOOPS = 6
CHANNEL_BYTES = 16
TABLE_BYTES = 256
REACH = 1 << 16  # what a number of a header is below


@dataclass(frozen=True)
class TileLoop:
    """step, x, y: how far a turn moves the address, the column and the row."""

    length: int = 1
    step: int = 0
    x: int = 0
    y: int = 0


@dataclass(frozen=True)
class TileWalk:
    """What is read, from an address, a column and a row on, in loops from the inner one: channels, columns and rows of
    a window, digits, columns and rows of results. Outside of width x height there is `fill`."""

    start: int
    loops: tuple[TileLoop, ...]
    x: int = 0
    y: int = 0
    width: int = 1
    height: int = 1
    fill: int = 0

    @property
    def steps(self) -> int:
        """Of a result."""
        return int(np.prod([loop.length for loop in self.loops[:4]]))

    @property
    def results(self) -> int:
        return int(np.prod([loop.length for loop in self.loops[4:]]))

    def moves(self) -> list[int]:
        """Of each loop: its length, and what it adds to address, column and row when the inner ones begin anew."""
        found, back = [], np.zeros(3, np.int64)
        for loop in self.loops:
            step = np.array([loop.step, loop.x, loop.y])
            found += [loop.length, *(int(one) for one in step - back)]
            back += (loop.length - 1) * step
        return found


@dataclass(frozen=True)
class PairedWords:
    """Steps at column 0 of a walk read not there but at `at`, of the first result, and where it `moves`, a word further
    for each. product: the last step of a result is by what the step before it has read, in place of weights: element by
    element, or where `spread` by its first element."""

    at: int
    moves: bool
    spread: bool
    product: bool

    @property
    def flags(self) -> int:
        return 1 << 4 | self.moves << 5 | self.spread << 6 | self.product << 7


@dataclass(frozen=True, eq=False)
class ComputeTile:
    """weights: int8 [words, outputs, elements], one word where `hold`; bias, multiplier, shift: of each output; table:
    behind them, int8 [256]; maximum: the largest is found, not a sum; out, out_step: where results go; waits: for
    all results before it; pair: a second place to read from; wide: what is near to between two integers lies there."""

    walk: TileWalk
    weights: Array
    bias: Array
    multiplier: Array
    shift: Array
    output: Output
    out: int
    out_step: int
    table: Array | None = None
    hold: bool = False
    maximum: bool = False
    waits: bool = False
    pair: PairedWords | None = None
    wide: bool = False

    def beats(self, lanes: int) -> int:
        """That the tile takes from memory."""
        table = 0 if self.table is None else TABLE_BYTES // lanes
        return head_beats(lanes) + len(self.weights) * lanes + CHANNEL_BYTES + table

    @property
    def bytes_of_elements(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Two numbers of two bytes."""
        output = self.output
        return (self.walk.fill, output.zero_point), (output.low, output.high)

    def image(self, lanes: int) -> bytes:
        walk, output = self.walk, self.output
        flags = self.waits << 8 | self.hold << 9 | self.maximum << 10 | (self.table is not None) << 11
        paired, pair_at = (0, 0) if self.pair is None else (self.pair.flags, self.pair.at)
        control = flags | output.even << 12 | self.wide << 15 | paired
        moved, clamp = ((low & 0xFF) | (high & 0xFF) << 8 for low, high in self.bytes_of_elements)
        placed = [control, len(self.weights), walk.start, walk.x, walk.y, walk.width, walk.height, moved]
        placed += [pair_at, clamp, self.out, self.out_step, *walk.moves()]
        channels = np.zeros((lanes, CHANNEL_BYTES // 4), np.uint32)
        channels[:, 0], channels[:, 1], channels[:, 2] = self.bias.astype(np.uint32), self.multiplier, self.shift - 1
        table = b"" if self.table is None else self.table.astype(np.int8).tobytes()
        return header(placed, lanes) + self.weights.astype(np.int8).tobytes() + channels.tobytes() + table


@dataclass(frozen=True)
class MoveTile:
    """`words` words from a stream in, or to a stream out. first, last: of all tiles."""

    kind: Literal["load", "store"]
    stream: int
    at: int
    words: int
    first: bool = False
    last: bool = False

    def beats(self, lanes: int) -> int:
        return head_beats(lanes)

    def image(self, lanes: int) -> bytes:
        control = {"load": 1, "store": 2}[self.kind] | self.stream << 4 | 1 << 8 | self.first << 13 | self.last << 14
        loads = self.kind == "load"
        read, written = (0, self.at) if loads else (self.at, 0)
        return header([control, 0, read, 0, 0, 0, 0, 0, 0, 0, written, 0, self.words], lanes)


Tile = ComputeTile | MoveTile


def head_beats(lanes: int) -> int:
    return -(-2 * FIELDS // lanes)


def header(fields: Sequence[int], lanes: int) -> bytes:
    """In whole beats."""
    numbers = np.zeros(head_beats(lanes) * lanes // 2, np.uint16)
    numbers[: len(fields)] = np.array(fields, np.int64) & 0xFFFF
    return numbers.tobytes()
