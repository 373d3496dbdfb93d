"""Loops over windows for AVX2, which multiplies pairs of int16: inputs are int16 in scratch, and so are the weights of
the 16 channels at hand, in pairs of inputs by 8 channels.

Both are widened once and read often: a step of a tile broadcasts a pair of each pixel and loads two vectors of weights,
and multiplies; a processor that multiplies and adds once a cycle does so in every one. Rows of taps outside the image
are not multiplied where its padding is zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from bevel.backends.cpu.x86.outputs import BlockSums, Results
from bevel.backends.cpu.x86.pairs import OWN_PAIRS
from bevel.backends.cpu.x86.vectors import joined
from bevel.backends.encodings.quads import BLOCK, BYTES, PAIR, QUAD
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.expressions import shuffled
from bevel.backends.vectors.inside import segments_inside
from bevel.backends.vectors.windows import Buffers, Windows

PIXELS = 6  # at most: twelve sums, a pixel, a product and the weights are 16 registers
WORDS = OWN_PAIRS.words
SIZE = WORDS * PAIR  # int16 of a vector
UNROLLED = 2  # pairs of inputs
PAIRS_OF_BLOCK = [channel * QUAD + pair * PAIR + one
                  for pair in range(QUAD // PAIR) for channel in range(BLOCK) for one in range(PAIR)]  # fmt: skip


def worth(windows: Windows) -> bool:
    """Whether weights are read often enough."""
    return windows.image.batch * windows.rows * windows.columns >= WORDS


@dataclass(frozen=True)
class WideLoops:
    """windows: over an image of int16; together: blocks of channels whose weights lie side by side; wide: scratch of
    int16 for those of one block."""

    windows: Windows
    channels: int
    together: int
    at: Buffers
    wide: Any
    results: Results

    def build(self) -> None:
        """TIR of all outputs, 16 channels after the others."""
        whole, rest = divmod(self.channels, BLOCK)
        if whole:
            with statements.serial(whole) as block:
                self.block(block, BLOCK)
        if rest:
            self.block(whole, rest)

    def block(self, block: Any, count: int) -> None:
        """TIR of the first `count` channels of a block, in all windows."""
        windows = self.windows
        widen(self.wide, self.at.weights, block, self.together, windows.segments * windows.quads)
        pixels = blocks_of(windows.columns, blocks_of(windows.columns, PIXELS))
        whole, rest = divmod(windows.columns, pixels)
        with statements.grid(windows.image.batch, windows.rows) as (one, row):
            with statements.serial(whole) as column:
                self.tile((one, row, column * pixels), block, count, pixels)
            if rest:
                self.tile((one, row, whole * pixels), block, count, rest)

    def tile(self, place: tuple[Any, Any, Any], block: Any, count: int, pixels: int) -> None:
        """TIR of neighbouring windows, from (image, row, column) on."""
        windows, at, (one, row, column) = self.windows, self.at, place
        vectors = blocks_of(count, WORDS)
        sums = statements.alloc_buffer((pixels * vectors * WORDS,), "int32", scope="local")
        where = [(pixel, vector, T.ramp((pixel * vectors + vector) * WORDS, 1, WORDS))
                 for pixel, vector in product(range(pixels), range(vectors))]  # fmt: skip
        for _, vector, total in where:
            statements.buffer_store(sums, at.bias[T.ramp(block * BLOCK + vector * WORDS, 1, WORDS)], [total])
        source = one * windows.image.bytes + row * windows.down + column * windows.right

        def pair(taken: Any, stored_at: Any) -> None:
            weights = [self.wide[T.ramp(stored_at + vector * SIZE, 1, SIZE)] for vector in range(vectors)]
            for pixel, vector, total in where:
                x = OWN_PAIRS.spread(at.image, taken + pixel * windows.right)
                statements.buffer_store(sums, OWN_PAIRS.added(sums[total], x, weights[vector]), [total])

        whole, rest = divmod(blocks_of(windows.size, PAIR), UNROLLED)
        outside, along = segments_inside(windows, row)
        with statements.grid(along, windows.across) as (inside, j):
            i = outside + inside
            taken = source + i * windows.next_row + j * windows.next_segment
            stored_at = (i * windows.across + j) * windows.quads * BYTES
            if whole:
                with statements.serial(whole) as some:
                    for step in range(UNROLLED):
                        number = some * UNROLLED + step
                        pair(taken + number * PAIR, stored_at + number * BLOCK * PAIR)
            for number in range(whole * UNROLLED, whole * UNROLLED + rest):
                pair(taken + number * PAIR, stored_at + number * BLOCK * PAIR)
        result = ((one * windows.rows + row) * windows.columns + column) * self.channels + block * BLOCK
        found = []
        for pixel in range(pixels):
            totals = [sums[total] for of, _, total in where if of == pixel]
            absent = [T.broadcast(T.int32(0), WORDS)] * (BLOCK // WORDS - vectors)
            found.append(BlockSums(joined([*totals, *absent]), block, pixel * self.channels, count))
        self.results.store(at.y, result, found)


def widen(wide: Any, weights: Any, block: Any, together: int, steps: int) -> None:
    """TIR of the weights of a block as int16: for each quad, two pairs by 16 channels."""
    with statements.serial(steps) as step:
        place = ((block // together * steps + step) * together + block % together) * BYTES
        pairs = shuffled([weights[T.ramp(place, 1, BYTES)]], PAIRS_OF_BLOCK)
        statements.buffer_store(wide, T.cast(pairs, f"int16x{BYTES}"), [T.ramp(step * BYTES, 1, BYTES)])
