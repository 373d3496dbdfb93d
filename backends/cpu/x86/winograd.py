"""3x3 convolutions for AVX2 in a quarter of the products, exactly: Winograd's F(4x4, 3x3) in integers.

Source: Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.3. Of a tile d of 6x6 inputs
and 3x3 weights g, with the points 0, 1, -1, 2, -2 and infinity,

    4x4 outputs  =  A' [(G g G') * (B' d B)] A

B is whole. Rows of G are fractions of 24; here those of 12 G are taken up to 12, 6 and 24 times, so that they are whole
and small, and columns of A make up for it: outputs come 24**2 = 9 * 64 times too large.

    transformed inputs    |.| <= 80 * 255                        int16
    transformed weights   |.| <= 49 * 128                        int16
    products, outputs     modulo 2**32                           uint32

Modulo 2**32 a multiplication divides by 9, and a division by 64 leaves 26 bits: sums of products must be within 25 and
a sign before the bias joins them. The price is memory: transformed inputs take 4.5 bytes an element, in strips of the
image; weights, 8 bytes each, are transformed when the tiles of a strip meet them, 16 channels at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from bevel.backends.cpu.x86.outputs import BlockSums, Results
from bevel.backends.cpu.x86.pairs import OWN_PAIRS
from bevel.backends.encodings.quads import BLOCK, BYTES, PAIR, QUAD
from bevel.backends.program.op import Operand, scratch
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import T, statements, tirx
from bevel.backends.vectors.expressions import in_pieces, shuffled, span, spread
from bevel.backends.vectors.windows import Buffers, PaddedInput, Windows
from bevel.backends.vectors.words import reach_of
from bevel.calib.arithmetic.requantize import Int8

OUT, TAPS, IN = 4, 3, 6  # of a tile, along an axis
PLACES = IN * IN
NINTH = pow(9, -1, 2**32)
SHIFT = 6
LARGEST_SUM = 2**25
LARGEST_INPUT = 255
WORDS = OWN_PAIRS.words
SIZE = WORDS * PAIR  # int16 of a vector
STRIP = 48  # tiles at most, where a row has no more
CHUNK = 8  # tiles whose products are in scratch
# Cycles, measured on a processor that adds up 8 products in each: of a quad of channels with a block, transformed
# weights; of a tile with a block, its outputs; of a tile's quad of channels, its inputs.
OF_WEIGHTS, OF_OUTPUTS, OF_INPUTS = 500, 600, 100
# Where there is AVX-VNNI: of a quad's products with a block, of bytes and of int16, and what the cycles above become.
OF_BYTES, OF_PAIRS, QUICKER = 1, 2, 1 / 2


def possible(plain: Any) -> bool:
    """Whether it is one of 3x3 whose taps lie side by side, of quads of channels."""
    return (
        isinstance(plain, Conv)
        and plain.kernel == (TAPS, TAPS)
        and plain.strides == plain.dilations == (1, 1)
        and plain.channels_in % QUAD == 0
        and plain.channels_in >= WORDS
        and min(plain.positions) >= OUT
    )


def within(w: Int8) -> bool:
    """Whether the sums of weights' products have a sign and 25 bits."""
    return bool((reach_of(w, LARGEST_INPUT, np.zeros(len(w))) < LARGEST_SUM).all())


def inputs(d: Sequence[Any]) -> list[Any]:
    """Rows of B' by six inputs: (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1)."""
    even, odd = d[4] - four(d[2]), d[3] - four(d[1])
    near, twice = d[4] - d[2], d[3] - d[1] + d[3] - d[1]
    return [four(d[0] - d[2]) + near, even + odd, even - odd, near + twice, near - twice, d[5] - d[3] - twice - twice]


def weights(g: Sequence[Any]) -> list[Any]:
    """(3, 0, 0), (1, 1, 1), (1, -1, 1), (1, 2, 4), (1, -2, 4), (0, 0, 3) by three weights: rows of G by 12, -6, -6, 24,
    24, 3."""
    ends, far, middle = g[0] + g[2], g[0] + four(g[2]), g[1] + g[1]
    return [g[0] + g[0] + g[0], ends + g[1], ends - g[1], far + middle, far - middle, g[2] + g[2] + g[2]]


def outputs(m: Sequence[Any]) -> list[Any]:
    """Rows of A' by six sums, each times 24 by what its row of `weights` is multiplied by: 2, -4, -4, 1, 1, 8."""
    plus, minus, outer = four(m[1] + m[2]), four(m[1] - m[2]), m[3] + m[4]
    apart = m[3] - m[4]
    twice = apart + apart
    return [m[0] + m[0] - plus + outer, twice - minus, four(outer) - plus, four(twice + m[5] + m[5]) - minus]


def four(value: Any) -> Any:
    """Times 4."""
    element, _, lanes = str(value.ty).partition("x")
    return value * spread(tirx.const(4, element), int(lanes or 1))


@dataclass(frozen=True)
class Winograd:
    """windows: those of `plain`; together: blocks of channels whose weights lie side by side."""

    plain: Conv
    windows: Windows
    together: int

    @property
    def tiles(self) -> tuple[int, int]:
        """Of an image, down and across."""
        rows, columns = self.plain.positions
        return blocks_of(rows, OUT), blocks_of(columns, OUT)

    @property
    def worth(self) -> bool:
        """Whether what is transformed takes less than the products that it saves."""
        a_quad = QUAD * BLOCK // WORDS
        return self.cycles(1, a_quad) < a_quad * self.windows_of_quads

    @property
    def beats_bytes(self) -> bool:
        """Whether it takes less than AVX-VNNI's products of bytes."""
        return self.cycles(QUICKER, OF_PAIRS) < OF_BYTES * self.windows_of_quads

    @property
    def steps(self) -> tuple[int, int]:
        """Quads of channels, and blocks."""
        return self.plain.channels_in // QUAD, blocks_of(self.plain.channels_out, BLOCK)

    @property
    def windows_of_quads(self) -> int:
        """Products of a quad with a block that are made where nothing is transformed."""
        (rows, columns), (quads, blocks) = self.plain.positions, self.steps
        return quads * blocks * TAPS * TAPS * rows * columns

    def cycles(self, scale: float, a_quad: int) -> float:
        """Of an image. scale: of what is transformed; a_quad: of its products with a block."""
        (down, across), (quads, blocks) = self.tiles, self.steps
        of_tiles = down * across * (OF_OUTPUTS * blocks + OF_INPUTS * quads)
        transformed = OF_WEIGHTS * quads * blocks * down // self.rows + of_tiles
        return scale * transformed + a_quad * quads * blocks * PLACES * down * across

    @property
    def rows(self) -> int:
        """Of tiles in a strip: all strips have as many."""
        down, across = self.tiles
        return max(rows for rows in range(1, down + 1) if down % rows == 0 and (rows == 1 or rows * across <= STRIP))

    @property
    def strip(self) -> int:
        """Tiles of a strip."""
        return self.rows * self.tiles[1]

    @property
    def chunk(self) -> int:
        """Tiles whose products are added up at once."""
        return blocks_of(self.strip, blocks_of(self.strip, CHUNK))

    @property
    def image(self) -> PaddedInput:
        """With whole tiles."""
        given, (down, across), (rows, columns) = self.windows.image, self.tiles, self.plain.positions
        behind = (across * OUT - columns) * self.plain.channels_in
        return replace(given, below=given.below + down * OUT - rows, behind=given.behind + behind)

    def operands(self) -> Iterable[Operand]:
        """Rows of tiles half transformed, and tiles: [36, tiles, Cin]; weights: [36, Cin / 2, 16, 2]; products:
        [36, tiles, 16]."""
        channels = self.plain.channels_in
        yield scratch("rows", (IN * self.image.pitch,), "int16")
        yield scratch("tiles", (PLACES * self.strip * channels,), "int16")
        yield scratch("wide", (PLACES * channels * BLOCK,), "int16")
        yield scratch("products", (PLACES * self.chunk * BLOCK,), "int32")

    def build(self, at: Buffers, buffers: tuple[Any, Any, Any, Any], results: Results) -> None:
        """TIR of all outputs; buffers: those of `operands`."""
        rows, tiles, wide, products = buffers
        down, across = self.tiles
        with statements.grid(self.plain.batch, down // self.rows) as (one, strip):
            with statements.serial(self.rows) as row:
                self.down(rows, at.image, one * self.image.bytes + (strip * self.rows + row) * OUT * self.image.pitch)
                with statements.serial(across) as column:
                    self.across(tiles, rows, row * across + column, column)

            def block(number: Any, count: int) -> None:
                vectors = blocks_of(count, WORDS)
                self.widen(wide, at.weights, number)

                def some(first: Any, size: int) -> None:
                    self.multiply(products, tiles, wide, (first, size), vectors)
                    with statements.serial(size) as tile:
                        place = (one, strip * self.strip + first + tile, number)
                        self.finish(at, products, results, place, (tile, size, count))

                whole, rest = divmod(self.strip, self.chunk)
                with statements.serial(whole) as part:
                    some(part * self.chunk, self.chunk)
                if rest:
                    some(whole * self.chunk, rest)

            blocks, last = divmod(self.plain.channels_out, BLOCK)
            if blocks:
                with statements.serial(blocks) as number:
                    block(number, BLOCK)
            if last:
                block(blocks, last)

    def down(self, rows: Any, image: Any, first: Any) -> None:
        """TIR of six rows of the image, transformed down their columns."""
        pitch = self.image.pitch

        def piece(offset: Any, size: int) -> None:
            dtype = f"int16x{size}" if size > 1 else "int16"
            taken = [T.cast(image[span(first + row * pitch + offset, size)], dtype) for row in range(IN)]
            for row, value in enumerate(inputs(held(taken, "int16", size))):
                statements.buffer_store(rows, value, [span(row * pitch + offset, size)])

        in_pieces(pitch, piece, BLOCK)

    def across(self, tiles: Any, rows: Any, tile: Any, column: Any) -> None:
        """TIR of one tile, transformed across."""
        channels, pitch = self.plain.channels_in, self.image.pitch
        with statements.serial(IN) as row:

            def piece(offset: Any, size: int) -> None:
                first = row * pitch + column * OUT * channels + offset
                taken = [rows[span(first + one * channels, size)] for one in range(IN)]
                for one, value in enumerate(inputs(held(taken, "int16", size))):
                    place = ((row * IN + one) * self.strip + tile) * channels + offset
                    statements.buffer_store(tiles, value, [span(place, size)])

            in_pieces(channels, piece, BLOCK)

    def widen(self, wide: Any, w: Any, block: Any) -> None:
        """TIR of the transformed weights of a block."""
        channels, windows = self.plain.channels_in, self.windows
        steps = windows.segments * windows.quads
        with statements.serial(channels // QUAD) as quad:
            for half, pair in product(range(BLOCK // WORDS), range(QUAD // PAIR)):

                def tap(row: int, column: int, half: int = half, pair: int = pair) -> Any:
                    step = row * windows.quads + column * (channels // QUAD) + quad
                    of = (block // self.together * steps + step) * self.together + block % self.together
                    taken = w[T.ramp(of * BYTES + half * WORDS * QUAD, 1, WORDS * QUAD)]
                    places = [word * QUAD + pair * PAIR + one for word in range(WORDS) for one in range(PAIR)]
                    return T.cast(shuffled([taken], places), f"int16x{SIZE}")

                columns = [
                    held(weights(held([tap(row, column) for row in range(TAPS)], "int16", SIZE)), "int16", SIZE)
                    for column in range(TAPS)
                ]
                for row in range(IN):
                    for one, value in enumerate(weights([column[row] for column in columns])):
                        place = ((row * IN + one) * (channels // PAIR) + quad * (QUAD // PAIR) + pair) * BLOCK * PAIR
                        statements.buffer_store(wide, value, [T.ramp(place + half * SIZE, 1, SIZE)])

    def multiply(self, products: Any, tiles: Any, wide: Any, some: tuple[Any, int], vectors: int) -> None:
        """TIR of the products of some tiles with a block of channels, at each of 36 places."""
        channels, (first, size) = self.plain.channels_in, some
        pixels = blocks_of(size, blocks_of(size, 4))
        with statements.serial(PLACES) as place:
            for start in range(0, size, pixels):
                where = list(product(range(min(pixels, size - start)), range(vectors)))
                sums = statements.alloc_buffer((len(where) * WORDS,), "uint32", scope="local")
                totals = [T.ramp(index * WORDS, 1, WORDS) for index in range(len(where))]
                for total in totals:
                    statements.buffer_store(sums, T.broadcast(T.uint32(0), WORDS), [total])
                with statements.serial(channels // PAIR) as pair:
                    stored_at = (place * (channels // PAIR) + pair) * BLOCK * PAIR
                    w = [wide[T.ramp(stored_at + vector * SIZE, 1, SIZE)] for vector in range(vectors)]
                    for total, (tile, vector) in zip(totals, where, strict=True):
                        taken = (place * self.strip + first + start + tile) * channels + pair * PAIR
                        both = OWN_PAIRS.products(OWN_PAIRS.spread(tiles, taken), w[vector])
                        added = sums[total] + T.reinterpret(both, dtype=f"uint32x{WORDS}")
                        statements.buffer_store(sums, added, [total])
                for total, (tile, vector) in zip(totals, where, strict=True):
                    kept = T.reinterpret(sums[total], dtype=f"int32x{WORDS}")
                    at = (place * self.chunk + start + tile) * BLOCK + vector * WORDS
                    statements.buffer_store(products, kept, [T.ramp(at, 1, WORDS)])

    def finish(
        self,
        at: Buffers,
        products: Any,
        results: Results,
        place: tuple[Any, Any, Any],
        within: tuple[Any, int, int],
    ) -> None:
        """TIR of the outputs of a tile: (image, tile, block), and the tile of how many in scratch, and channels."""
        (one, tile, block), (number, _, count), (rows, columns) = place, within, self.plain.positions
        sums = statements.alloc_buffer((OUT * OUT * BLOCK,), "int32", scope="local")
        vectors = blocks_of(count, WORDS)
        for vector in range(vectors):

            def sum_at(row: int, column: int, vector: int = vector) -> Any:
                where = ((row * IN + column) * self.chunk + number) * BLOCK + vector * WORDS
                return T.reinterpret(products[T.ramp(where, 1, WORDS)], dtype=f"uint32x{WORDS}")

            across = [
                held(outputs(held([sum_at(row, column) for row in range(IN)], "uint32", WORDS)), "uint32", WORDS)
                for column in range(IN)
            ]
            bias = T.reinterpret(at.bias[T.ramp(block * BLOCK + vector * WORDS, 1, WORDS)], dtype=f"uint32x{WORDS}")
            for row in range(OUT):
                for column, value in enumerate(outputs([one[row] for one in across])):
                    whole = T.reinterpret(value * T.broadcast(T.uint32(NINTH), WORDS), dtype=f"int32x{WORDS}")
                    total = T.reinterpret(whole >> T.broadcast(T.int32(SHIFT), WORDS), dtype=f"uint32x{WORDS}") + bias
                    where = T.ramp((row * OUT + column) * BLOCK + vector * WORDS, 1, WORDS)
                    statements.buffer_store(sums, T.reinterpret(total, dtype=f"int32x{WORDS}"), [where])
        across_tiles = self.tiles[1]
        row, column = tile // across_tiles * OUT, tile % across_tiles * OUT
        with statements.grid(T.min(OUT, rows - row), T.min(OUT, columns - column)) as (under, beside):
            words = sums[T.ramp((under * OUT + beside) * BLOCK, 1, BLOCK)]
            pixel = (one * rows + row + under) * columns + column + beside
            results.store(at.y, pixel * self.plain.channels_out + block * BLOCK, [BlockSums(words, block, 0, count)])


def held(values: Sequence[Any], dtype: str, size: int) -> list[Any]:
    """Values in registers, computed once."""
    kept = statements.alloc_buffer((len(values) * size,), dtype, scope="local")
    places = [span(index * size, size) for index in range(len(values))]
    for place, value in zip(places, values, strict=True):
        statements.buffer_store(kept, value, [place])
    return [kept[place] for place in places]
