"""How many outputs WebAssembly computes at once: pixels by vectors of four channels.

A step takes a pair of each pixel, which one load brings to all four words, and a vector of weights of each vector of
channels, which one load widens to int16; each of their products is two instructions, dot and add. Engines map vectors
to the registers of the processor, of which x86-64 has sixteen, and keep one or two.
"""

from __future__ import annotations

from typing import NamedTuple

from bevel.backends.program.shapes import blocks_of

REGISTERS = 14
PRODUCT, WEIGHTS, PIXEL = 2.0, 1.5, 1.0  # relative times of a product, a load that widens, one that does not
STEP = 1.0  # what goes into the loop itself
VECTORS = 8  # at most


class WasmTile(NamedTuple):
    """So many outputs of a row, of so many vectors of channels."""

    pixels: int
    vectors: int

    @property
    def fits(self) -> bool:
        """Sums, the fewer of weights and pixels, one of the others and a product in registers."""
        return self.pixels * self.vectors + min(self.pixels, self.vectors) + 2 <= REGISTERS

    @property
    def time(self) -> float:
        """Of one step."""
        return STEP + self.pixels * self.vectors * PRODUCT + self.vectors * WEIGHTS + self.pixels * PIXEL


TILES = [tile for p in range(1, REGISTERS) for k in range(1, VECTORS + 1) if (tile := WasmTile(p, k)).fits]


def best_tile(columns: int, vectors: int) -> WasmTile:
    """For rows of `columns` outputs of so many vectors of channels."""

    def time(tile: WasmTile) -> float:
        pixels = blocks_of(columns, blocks_of(columns, tile.pixels))  # as even as they can be
        total = 0.0
        for k, times in ((tile.vectors, vectors // tile.vectors), (vectors % tile.vectors, 1)):
            whole, rest = divmod(columns, pixels)
            row = whole * WasmTile(pixels, k).time + (WasmTile(rest, k).time if rest else 0.0)
            total += times * row if k else 0.0
        return total

    return min((one for one in TILES if one.pixels <= columns and one.vectors <= vectors), key=time)
