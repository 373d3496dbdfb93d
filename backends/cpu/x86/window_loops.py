"""The loops over windows of vectors of x86: a tile of pixels by blocks of channels at a time.

Padding that is stored as zeros is not multiplied (`bevel.backends.vectors.inside`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from bevel.backends.cpu.x86.outputs import BlockSums, Results
from bevel.backends.cpu.x86.register_tile import REGISTERS, RegisterTile, best_tile
from bevel.backends.cpu.x86.vectors import DotProducts, Vnni, interleaved, pairs_added
from bevel.backends.encodings.quads import BLOCK, BYTES, QUAD
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.inside import QuadRun, segments_inside, tiles_inside
from bevel.backends.vectors.windows import Buffers, Windows


def tile_of(windows: Windows, channels: int) -> RegisterTile:
    return best_tile(windows.columns, blocks_of(channels, BLOCK), windows.segments * windows.quads)


Place = tuple[Any, Any, Any]  # of a window: image, row, column


class ChannelRun(NamedTuple):
    """`size` of a part of the weights, from the block `first` on."""

    part: Any
    first: int
    size: int


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
            self.rows(ChannelRun(part, first, count), RegisterTile(pixels, blocks))

    def rows(self, channels: ChannelRun, tile: RegisterTile) -> None:
        """TIR of these channels in all windows."""
        with statements.grid(self.windows.image.batch, self.windows.rows) as (one, row):
            for alike in tiles_inside(self.windows, tile.pixels, self.quads(channels, tile)):
                tiled = tile._replace(pixels=alike.pixels)
                if alike.times == 1:
                    self.tile((one, row, alike.column), channels, tiled, alike.quad_runs)
                    continue
                with statements.serial(alike.times) as index:
                    column = alike.column + index * alike.pixels
                    self.tile((one, row, column), channels, tiled, alike.quad_runs)

    def quads(self, channels: ChannelRun, tile: RegisterTile) -> int:
        """Taken at a time: two where the last block of a tile has 8 channels at most, which meet both in an
        instruction."""
        rest = (channels.size - 1) % BLOCK + 1
        halved = self.isa.halves_blocks and rest <= BLOCK // 2 and tile.blocks > 1 and self.windows.quads % 2 == 0
        return 2 if halved else 1

    def tile(self, place: Place, channels: ChannelRun, tile: RegisterTile, quad_runs: Sequence[QuadRun]) -> None:
        """TIR of neighbouring windows, over what they read of each segment."""
        windows, isa, (one, row, column) = self.windows, self.isa, place
        block_of = channels.part * self.together + channels.first
        halved = self.quads(channels, tile) > 1
        where = list(product(range(tile.pixels), range(tile.blocks), range(isa.vectors)))
        sums = statements.alloc_buffer((len(where) * isa.words,), "int32", scope="local")
        for index, (_, block, which) in enumerate(where):
            start = self.start(block_of + block, which, halved and block == tile.blocks - 1)
            statements.buffer_store(sums, start, [isa.total(index)])
        for run in quad_runs:
            self.run(sums, place, channels, tile, run)
        result = ((one * windows.rows + row) * windows.columns + column) * self.channels
        found = []
        for pixel, block in product(range(tile.pixels), range(tile.blocks)):
            index = (pixel * tile.blocks + block) * isa.vectors
            words = isa.block([sums[isa.total(index + which)] for which in range(isa.vectors)])
            if halved and block == tile.blocks - 1:
                words = pairs_added(words)
            channel = block_of + block
            words = words if isa.in_order else words + self.at.bias[T.ramp(channel * BLOCK, 1, BLOCK)]
            offset = pixel * self.channels + block * BLOCK
            found.append(BlockSums(words, channel, offset, min(BLOCK, channels.size - block * BLOCK)))
        self.results.store(self.at.y, result + block_of * BLOCK, found)

    def run(self, sums: Any, place: Place, channels: ChannelRun, tile: RegisterTile, run: QuadRun) -> None:
        """TIR of a run of each segment that has something of the image."""
        windows, (one, row, column) = self.windows, place
        source = one * windows.image.bytes + row * windows.down + column * windows.right
        weights = (channels.part * windows.segments * windows.quads * self.together + channels.first) * BYTES
        quads = self.quads(channels, tile)
        outside, along = segments_inside(windows, row)
        with statements.grid(along, windows.across, run.size // quads) as (inside, j, more):
            i, some = outside + inside, run.first + more * quads
            taken = source + i * windows.next_row + j * windows.next_segment + some * QUAD
            step = (i * windows.across + j) * windows.quads + some
            stored_at = weights + step * self.together * BYTES
            for quad in range(quads):
                of_quad = stored_at + quad * self.together * BYTES
                self.products(sums, taken + quad * QUAD, of_quad, tile, run.pixels, tile.blocks - quads + 1)
            if quads > 1:
                self.half_products(sums, taken, stored_at + (tile.blocks - 1) * BYTES, tile, run.pixels)

    def start(self, channel: Any, which: int, half: bool) -> Any:
        """What a vector of sums starts from."""
        zeros = T.broadcast(T.int32(0), self.isa.words)
        if not self.isa.in_order:
            return zeros
        bias = self.at.bias[T.ramp(channel * BLOCK + which * self.isa.words, 1, self.isa.words)]
        return interleaved(bias, zeros) if half else bias

    def products(
        self, sums: Any, taken: Any, stored_at: Any, tile: RegisterTile, pixels: Iterable[int], blocks: int
    ) -> None:
        """TIR of one quad of these pixels with the first `blocks`."""
        isa = self.isa
        weights = [isa.weights(self.at.weights, stored_at + block * BYTES) for block in range(blocks)]
        for pixel, block, which in product(pixels, range(blocks), range(isa.vectors)):
            x = isa.pixel(self.at.image, taken + pixel * self.windows.right)[which]
            total = isa.total((pixel * tile.blocks + block) * isa.vectors + which)
            statements.buffer_store(sums, isa.added(sums[total], x, weights[block][which]), [total])

    def half_products(self, sums: Any, taken: Any, stored_at: Any, tile: RegisterTile, pixels: Iterable[int]) -> None:
        """TIR of two quads of these pixels with the last block, whose weights for both become one vector."""
        isa = self.isa
        assert isinstance(isa, Vnni)
        both = (isa.weights(self.at.weights, stored_at + quad * self.together * BYTES)[0] for quad in range(2))
        weights = interleaved(*(T.reinterpret(one, dtype=f"int32x{BLOCK}") for one in both))
        for pixel in pixels:
            x = isa.two_quads(self.at.image, taken + pixel * self.windows.right)
            total = isa.total(pixel * tile.blocks + tile.blocks - 1)
            added = isa.added(sums[total], x, T.reinterpret(weights, dtype=isa.type))
            statements.buffer_store(sums, added, [total])
