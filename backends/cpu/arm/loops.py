"""Loops over windows for 64-bit Arm: some pixels of a row by 16 output channels, in registers.

Four quads of a pixel are one load, and SDOT takes any of the four for all its words. For these four steps a tile of p
pixels loads p vectors of the image and 16 of weights, for 16 * p SDOT. Without SDOT it is fewer pixels: products wait
in registers, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from bevel.backends.cpu.arm.neon import SIZE, VECTORS, WORDS, dot, repeated, repeated_quad
from bevel.backends.cpu.arm.packed import PackedArm
from bevel.backends.encodings.quads import BLOCK, BYTES, QUAD
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.blocks import store_results
from bevel.backends.vectors.packed import Place, over_tiles
from bevel.backends.vectors.windows import Buffers, Windows

PIXELS = 6  # at most: 24 sums, six of the image and one of weights are 31 of 32 registers
UNFUSED = 3
LANES = 4  # quads of a vector


@dataclass(frozen=True)
class NeonLoops:
    """at: the image as int8; weights [blocks][quads of all segments][16][4]; bias and rescaling of `kernel`."""

    kernel: PackedArm
    windows: Windows
    fused: bool
    at: Buffers

    def build(self) -> None:
        """TIR of all outputs."""
        over_tiles(self.windows, self.kernel.channels, BLOCK, PIXELS if self.fused else UNFUSED, self.tile)

    def tile(self, place: Place, block: Any, channels: int, pixels: int) -> None:
        """TIR of neighbouring windows, from (image, row, column) on."""
        windows, at, (one, row, column) = self.windows, self.at, place
        sums = statements.alloc_buffer((pixels * BLOCK,), "int32", scope="local")
        for pixel, vector in product(range(pixels), range(VECTORS)):
            start = at.bias[T.ramp(block * BLOCK + vector * WORDS, 1, WORDS)]
            statements.buffer_store(sums, start, [total(pixel, vector)])
        source = one * windows.image.bytes + row * windows.down + column * windows.right
        weights = block * windows.segments * windows.quads * BYTES
        whole, rest = divmod(windows.quads, LANES)
        with statements.grid(windows.along, windows.across) as (i, j):
            taken = source + i * windows.next_row + j * windows.next_segment
            stored = weights + (i * windows.across + j) * windows.quads * BYTES
            if whole:
                with statements.serial(whole) as four:
                    self.four(sums, pixels, taken + four * SIZE, stored + four * LANES * BYTES)
            for quad in range(whole * LANES, whole * LANES + rest):
                self.quad(sums, pixels, taken + quad * QUAD, stored + quad * BYTES)
        result = ((one * windows.rows + row) * windows.columns + column) * self.kernel.channels + block * BLOCK
        places = [result + pixel * self.kernel.channels for pixel in range(pixels)]
        of_pixels = [sums[T.ramp(pixel * BLOCK, 1, BLOCK)] for pixel in range(pixels)]
        results = [self.kernel.rescaled(one, at.rescaling, block) for one in of_pixels]
        store_results(at.y, places, results, channels, BLOCK)

    def four(self, sums: Any, pixels: int, taken: Any, stored: Any) -> None:
        """TIR of four quads."""
        image = [self.at.image[T.ramp(taken + pixel * self.windows.right, 1, SIZE)] for pixel in range(pixels)]
        for lane, vector in product(range(LANES), range(VECTORS)):
            w = self.at.weights[T.ramp(stored + lane * BYTES + vector * SIZE, 1, SIZE)]
            self.add(sums, vector, [repeated(x, lane) for x in image], w)

    def quad(self, sums: Any, pixels: int, taken: Any, stored: Any) -> None:
        """TIR of one quad."""
        image = [repeated_quad(self.at.image, taken + pixel * self.windows.right) for pixel in range(pixels)]
        for vector in range(VECTORS):
            self.add(sums, vector, image, self.at.weights[T.ramp(stored + vector * SIZE, 1, SIZE)])

    def add(self, sums: Any, vector: int, image: list[Any], w: Any) -> None:
        """TIR that adds a vector of weights times something of each pixel."""
        for pixel, x in enumerate(image):
            added = dot(sums[total(pixel, vector)], x, w, self.fused)
            statements.buffer_store(sums, added, [total(pixel, vector)])


def total(pixel: int, vector: int) -> Any:
    """Where a vector of sums lies."""
    return T.ramp(pixel * BLOCK + vector * WORDS, 1, WORDS)
