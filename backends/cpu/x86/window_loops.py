"""The loops over windows of vectors of x86: a tile of pixels by blocks of channels at a time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from bevel.backends.cpu.x86.outputs import BlockSums, Results
from bevel.backends.cpu.x86.register_tile import REGISTERS, RegisterTile, best_tile
from bevel.backends.cpu.x86.vectors import DotProducts, Vnni, interleaved, pairs_added
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

    def halved(self, count: int, tile: RegisterTile) -> bool:
        """Whether the last block of a tile has 8 channels at most, which then take two quads in an instruction."""
        rest = (count - 1) % BLOCK + 1
        return self.isa.halves_blocks and rest <= BLOCK // 2 and tile.blocks > 1 and self.windows.quads % 2 == 0

    def tile(self, place: tuple[Any, Any, Any], part: Any, first: int, count: int, tile: RegisterTile) -> None:
        """TIR of neighbouring windows, from (image, row, column) on."""
        windows, isa, (one, row, column) = self.windows, self.isa, place
        halved = self.halved(count, tile)
        where = list(product(range(tile.pixels), range(tile.blocks), range(isa.vectors)))
        sums = statements.alloc_buffer((len(where) * isa.words,), "int32", scope="local")
        for index, (_, block, which) in enumerate(where):
            half = halved and block == tile.blocks - 1
            start = self.start(part * self.together + first + block, which, half)
            statements.buffer_store(sums, start, [isa.total(index)])
        source = one * windows.image.bytes + row * windows.down + column * windows.right
        quads = 2 if halved else 1
        with statements.grid(windows.along, windows.across, windows.quads // quads) as (i, j, some):
            step = (i * windows.across + j) * windows.quads + some * quads
            taken = source + i * windows.next_row + j * windows.next_segment + some * quads * QUAD
            stored_at = ((part * windows.segments * windows.quads + step) * self.together + first) * BYTES
            for quad in range(quads):
                place_of = stored_at + quad * self.together * BYTES
                self.products(sums, taken + quad * QUAD, place_of, tile, tile.blocks - (quads - 1))
            if halved:
                self.half_products(sums, taken, stored_at + (tile.blocks - 1) * BYTES, tile)
        result = ((one * windows.rows + row) * windows.columns + column) * self.channels
        found = []
        for pixel, block in product(range(tile.pixels), range(tile.blocks)):
            index = (pixel * tile.blocks + block) * isa.vectors
            words = isa.block([sums[isa.total(index + which)] for which in range(isa.vectors)])
            if halved and block == tile.blocks - 1:
                words = pairs_added(words)
            channel = part * self.together + first + block
            words = words if isa.in_order else words + self.at.bias[T.ramp(channel * BLOCK, 1, BLOCK)]
            offset = pixel * self.channels + block * BLOCK
            found.append(BlockSums(words, channel, offset, min(BLOCK, count - block * BLOCK)))
        self.results.store(self.at.y, result + (part * self.together + first) * BLOCK, found)

    def start(self, channel: Any, which: int, half: bool) -> Any:
        """What a vector of sums starts from."""
        zeros = T.broadcast(T.int32(0), self.isa.words)
        if not self.isa.in_order:
            return zeros
        bias = self.at.bias[T.ramp(channel * BLOCK + which * self.isa.words, 1, self.isa.words)]
        return interleaved(bias, zeros) if half else bias

    def products(self, sums: Any, taken: Any, stored_at: Any, tile: RegisterTile, blocks: int) -> None:
        """TIR of one quad of each pixel with the first `blocks`."""
        isa = self.isa
        weights = [isa.weights(self.at.weights, stored_at + block * BYTES) for block in range(blocks)]
        for pixel, block, which in product(range(tile.pixels), range(blocks), range(isa.vectors)):
            x = isa.pixel(self.at.image, taken + pixel * self.windows.right)[which]
            total = isa.total((pixel * tile.blocks + block) * isa.vectors + which)
            statements.buffer_store(sums, isa.added(sums[total], x, weights[block][which]), [total])

    def half_products(self, sums: Any, taken: Any, stored_at: Any, tile: RegisterTile) -> None:
        """TIR of two quads of each pixel with the last block, whose weights for both become one vector."""
        isa = self.isa
        assert isinstance(isa, Vnni)
        both = (isa.weights(self.at.weights, stored_at + quad * self.together * BYTES)[0] for quad in range(2))
        weights = interleaved(*(T.reinterpret(one, dtype=f"int32x{BLOCK}") for one in both))
        for pixel in range(tile.pixels):
            x = isa.two_quads(self.at.image, taken + pixel * self.windows.right)
            total = isa.total(pixel * tile.blocks + tile.blocks - 1)
            added = isa.added(sums[total], x, T.reinterpret(weights, dtype=isa.type))
            statements.buffer_store(sums, added, [total])
