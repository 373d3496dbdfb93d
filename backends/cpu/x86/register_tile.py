"""How many outputs of a convolution x86 computes at once: pixels by blocks of 16 channels.

A step of a tile takes one quad of bytes of each of its pixels and one vector of weights of each of its blocks:

    pixels * blocks    multiply-adds, two a cycle, each `LATENCY` cycles after the one it adds to
    pixels + blocks    loads, two a cycle
    blocks             vectors of weights, which come from the second cache where they do not fit into the first
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from bevel.backends.encodings.quads import BYTES

REGISTERS = 32
LATENCY = 5  # cycles; Fog, "Instruction tables": VPDPBUSD on Ice Lake and Sapphire Rapids
BLOCKS = 8  # at most
PIXELS = 24
NEAR = 42 * 1024  # bytes of weights that stay in the first cache, of 48 KiB
STREAMED = 22  # bytes a cycle from the second one, measured
FAR = 3  # loads from the first cache that one from the second is worth
START = 12  # cycles of a tile before and after its steps, about


class RegisterTile(NamedTuple):
    """So many outputs of a row, of so many blocks."""

    pixels: int
    blocks: int

    @property
    def fits(self) -> bool:
        """Accumulators, the blocks' weights and a pixel in registers."""
        return self.pixels * self.blocks + self.blocks + 1 <= REGISTERS

    def far(self, steps: int) -> bool:
        """Whether the weights of so many steps come from the second cache."""
        return steps * self.blocks * BYTES > NEAR

    def cycles(self, steps: int) -> float:
        """Of one step of so many."""
        streamed = self.blocks * BYTES / STREAMED if self.far(steps) else 0
        return max(self.pixels * self.blocks / 2, (self.pixels + self.blocks) / 2, LATENCY, streamed)

    def loads(self, steps: int) -> int:
        """Of one step of so many."""
        return self.pixels + self.blocks * (FAR if self.far(steps) else 1)


@cache  # kernels ask at each look at their operands
def best_tile(columns: int, blocks: int, steps: int) -> RegisterTile:
    """For rows of `columns` outputs of `blocks` blocks of channels, each of so many steps: the one that takes the
    fewest cycles, then the fewest loads."""

    def cost(tile: RegisterTile) -> tuple[float, int]:
        parts, pixels = cut(blocks, tile.blocks), cut(columns, tile.pixels)
        every = [(times * again, RegisterTile(p, k)) for k, times in parts for p, again in pixels]
        cycles = sum(times * (one.cycles(steps) * steps + START) for times, one in every)
        return cycles, sum(times * one.loads(steps) for times, one in every)

    tiles = (RegisterTile(p, k) for k in range(1, min(BLOCKS, blocks) + 1) for p in range(1, min(PIXELS, columns) + 1))
    return min((tile for tile in tiles if tile.fits), key=cost)


def cut(count: int, size: int) -> list[tuple[int, int]]:
    """(size, how many) of the pieces of `count`: whole ones, and what is left."""
    whole, rest = divmod(count, size)
    return [(size, whole)] + [(rest, 1)] * min(rest, 1)
