"""How many outputs of a convolution x86 computes at once: pixels by blocks of 16 channels.

A step of a tile takes one quad of bytes of each of its pixels and one vector of weights of each of its blocks:

    pixels * blocks    multiply-adds, two a cycle, each `LATENCY` cycles after the one it adds to
    pixels + blocks    loads, two a cycle
"""

from __future__ import annotations

from typing import NamedTuple

from bevel.backends.program.shapes import blocks_of

REGISTERS = 32
LATENCY = 5  # cycles; Fog, "Instruction tables": VPDPBUSD on Ice Lake and Sapphire Rapids
BLOCKS = 8  # at most
PIXELS = 24


class RegisterTile(NamedTuple):
    """So many outputs of a row, of so many blocks."""

    pixels: int
    blocks: int

    @property
    def fits(self) -> bool:
        """Accumulators, the blocks' weights and a pixel in registers."""
        return self.pixels * self.blocks + self.blocks + 1 <= REGISTERS

    @property
    def cycles(self) -> float:
        """Of one step."""
        return max(self.pixels * self.blocks / 2, (self.pixels + self.blocks) / 2, LATENCY)


def best_tile(columns: int, blocks: int) -> RegisterTile:
    """For rows of `columns` outputs of `blocks` blocks of channels."""

    def cost(tile: RegisterTile) -> tuple[float, int]:
        whole, rest = divmod(columns, tile.pixels)
        steps = whole * tile.cycles + (tile._replace(pixels=rest).cycles if rest else 0)
        return blocks_of(blocks, tile.blocks) * steps, tile.blocks

    tiles = (RegisterTile(p, k) for k in range(1, min(BLOCKS, blocks) + 1) for p in range(1, min(PIXELS, columns) + 1))
    return min((tile for tile in tiles if tile.fits), key=cost)
