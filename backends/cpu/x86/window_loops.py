"""The loops over windows of vectors of x86: a tile of pixels by blocks of channels at a time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from bevel.backends.cpu.x86.outputs import BlockSums, Results
from bevel.backends.cpu.x86.register_tile import REGISTERS, RegisterTile, best_tile
from bevel.backends.cpu.x86.vectors import DotProducts
from bevel.backends.encodings.quads import BLOCK, BYTES, QUAD
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.windows import Buffers, Windows


def tile_of(windows: Windows, channels: int) -> RegisterTile:
    return best_tile(windows.columns, blocks_of(channels, BLOCK), windows.segments * windows.quads)


@dataclass(frozen=True)
class Loops:
    """The loops of one instruction set over windows."""

    windows: Windows
    channels: int
    isa: DotProducts
    at: Buffers
    results: Results

    @property
    def together(self) -> int:
        """Blocks of channels whose weights lie side by side."""
        return tile_of(self.windows, self.channels).blocks

    def build(self) -> None:
        """TIR of all outputs: channels in parts of `together` blocks, and what remains of them."""
        parts, rest = divmod(self.channels, self.together * BLOCK)
        if parts:
            with statements.serial(parts) as part:
                self.part(part, self.together * BLOCK)
        if rest:
            self.part(parts, rest)

    def part(self, part: Any, channels: int) -> None:
        """TIR of the first `channels` of a part, in all windows."""
        total, limit = blocks_of(channels, BLOCK), self.isa.blocks
        some = min(total, 2 if limit < REGISTERS // 2 else total)
        for first in range(0, total, some):
            blocks = min(some, total - first)
            count = min(channels - first * BLOCK, blocks * BLOCK)
            pixels = min(tile_of(self.windows, self.channels).pixels, limit // blocks)
            self.rows(part, first, count, RegisterTile(pixels, blocks))

    def rows(self, part: Any, first: int, count: int, tile: RegisterTile) -> None:
        """TIR of `count` channels from the block `first` of a part on, in all windows."""
        whole, rest = divmod(self.windows.columns, tile.pixels)
        with statements.grid(self.windows.image.batch, self.windows.rows) as (one, row):
            if whole:
                with statements.serial(whole) as column:
                    self.tile((one, row, column * tile.pixels), part, first, count, tile)
            if rest:
                self.tile((one, row, whole * tile.pixels), part, first, count, tile._replace(pixels=rest))

    def tile(self, place: tuple[Any, Any, Any], part: Any, first: int, count: int, tile: RegisterTile) -> None:
        """TIR of neighbouring windows, from (image, row, column) on."""
        windows, isa, at = self.windows, self.isa, self.at
        one, row, column = place
        where = list(product(range(tile.pixels), range(tile.blocks), range(isa.vectors)))
        sums = statements.alloc_buffer((len(where) * isa.words,), "int32", scope="local")
        for index, (_, block, which) in enumerate(where):
            start = T.broadcast(T.int32(0), isa.words)
            if isa.in_order:
                channel = (part * self.together + first + block) * BLOCK
                start = at.bias[T.ramp(channel + which * isa.words, 1, isa.words)]
            statements.buffer_store(sums, start, [isa.total(index)])
        source = one * windows.image.bytes + row * windows.down + column * windows.right
        with statements.grid(windows.along, windows.across, windows.quads) as (i, j, quad):
            step = (i * windows.across + j) * windows.quads + quad
            taken = source + i * windows.next_row + j * windows.next_segment + quad * QUAD
            stored_at = ((part * windows.segments * windows.quads + step) * self.together + first) * BYTES
            weights = [isa.weights(at.weights, stored_at + block * BYTES) for block in range(tile.blocks)]
            for index, (pixel, block, which) in enumerate(where):
                x = isa.pixel(at.image, taken + pixel * windows.right)[which]
                total = sums[isa.total(index)]
                statements.buffer_store(sums, isa.added(total, x, weights[block][which]), [isa.total(index)])
        result = ((one * windows.rows + row) * windows.columns + column) * self.channels
        found = []
        for pixel, block in product(range(tile.pixels), range(tile.blocks)):
            index = (pixel * tile.blocks + block) * isa.vectors
            words = isa.block([sums[isa.total(index + which)] for which in range(isa.vectors)])
            channel = part * self.together + first + block
            words = words if isa.in_order else words + at.bias[T.ramp(channel * BLOCK, 1, BLOCK)]
            offset = pixel * self.channels + block * BLOCK
            found.append(BlockSums(words, channel, offset, min(BLOCK, count - block * BLOCK)))
        self.results.store(at.y, result + (part * self.together + first) * BLOCK, found)
