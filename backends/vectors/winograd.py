"""3x3 convolutions in a quarter of the products, exactly: Winograd's F(4x4, 3x3) in integers.

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

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from bevel.backends.encodings.quads import BLOCK, PAIR, QUAD
from bevel.backends.program.op import Operand, scratch
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import T, statements, tirx
from bevel.backends.vectors.expressions import in_pieces, span, spread
from bevel.backends.vectors.windows import PaddedInput, Windows
from bevel.backends.vectors.words import reach_of
from bevel.calib.arithmetic.requantize import Int8

OUT, TAPS, IN = 4, 3, 6  # of a tile, along an axis
PLACES = IN * IN
NINTH = pow(9, -1, 2**32)
SHIFT = 6
LARGEST_SUM = 2**25
LARGEST_INPUT = 255  # at most
FEWEST = 8  # channels of the input
STRIP = 48  # tiles at most, where a row has no more
CHUNK = 8  # tiles whose products are in scratch

Write = Callable[[Any, Any, Any, Any, int], None]  # sums and the place of 16, their pixel of y, block, and channels


def possible(plain: Conv) -> bool:
    """Whether it is one of 3x3 whose taps lie side by side, of quads of channels."""
    return (
        plain.groups == 1
        and plain.kernel == (TAPS, TAPS)
        and plain.strides == plain.dilations == (1, 1)
        and plain.channels_in % QUAD == 0
        and plain.channels_in >= FEWEST
        and min(plain.positions) >= OUT
    )


def within(w: Int8, largest: int = LARGEST_INPUT) -> bool:
    """Whether the sums of products of weights and inputs up to `largest` have a sign and 25 bits."""
    return bool((reach_of(w, largest, np.zeros(len(w))) < LARGEST_SUM).all())


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
class TransformedTiles(ABC):
    """The loops of a machine that adds up products of pairs of int16, in vectors of `words`. windows: those of
    `plain`."""

    plain: Conv
    windows: Windows

    @property
    @abstractmethod
    def words(self) -> int:
        """Of a vector."""

    @property
    @abstractmethod
    def registers(self) -> tuple[int, int]:
        """Tiles and vectors of channels whose sums are in registers at once."""

    @abstractmethod
    def products(self, tiles: Any, place: Any, w: Any) -> Any:
        """TIR of a word for each pair: that of int16 at a place of `tiles` with each of a vector of weights."""

    @abstractmethod
    def tap(self, w: Any, block: Any, quad: Any, pair: int, vector: Any, tap: tuple[int, int]) -> Any:
        """TIR of weights of a vector of a block's channels, as int16: those of a pair of a quad of inputs in a row and
        a column."""

    @property
    def gap(self) -> int:
        """int16 between what lies at one of 36 places and at the next."""
        return 0

    @property
    def of_tiles(self) -> int:
        """int16 from one place of transformed tiles to the next."""
        return self.strip * self.plain.channels_in + self.gap

    @property
    def of_weights(self) -> int:
        """The same of weights."""
        return self.plain.channels_in * BLOCK + self.gap

    @property
    def lanes(self) -> int:
        """int16 of a vector."""
        return self.words * PAIR

    @property
    def tiles(self) -> tuple[int, int]:
        """Of an image, down and across."""
        rows, columns = self.plain.positions
        return blocks_of(rows, OUT), blocks_of(columns, OUT)

    @property
    def steps(self) -> tuple[int, int]:
        """Quads of channels, and blocks."""
        return self.plain.channels_in // QUAD, blocks_of(self.plain.channels_out, BLOCK)

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
        yield scratch("rows", (IN * self.image.pitch,), "int16")
        yield scratch("tiles", (PLACES * self.of_tiles,), "int16")
        yield scratch("wide", (PLACES * self.of_weights,), "int16")
        yield scratch("products", (PLACES * self.chunk * BLOCK,), "int32")

    def build(self, at: tuple[Any, Any, Any], buffers: tuple[Any, Any, Any, Any], write: Write) -> None:
        """TIR of all outputs. at: the image, packed weights and bias; buffers: those of `operands`."""
        (image, w, bias), (rows, tiles, wide, products) = at, buffers
        down, across = self.tiles
        with statements.grid(self.plain.batch, down // self.rows) as (one, strip):
            with statements.serial(self.rows) as row:
                self.down(rows, image, one * self.image.bytes + (strip * self.rows + row) * OUT * self.image.pitch)
                with statements.serial(across) as column:
                    self.across(tiles, rows, row * across + column, column)

            def block(number: Any, count: int) -> None:
                vectors = blocks_of(count, self.words)
                self.widen(wide, w, number)

                def some(first: Any, size: int) -> None:
                    self.multiply(products, tiles, wide, (first, size), vectors)
                    with statements.serial(size) as tile:
                        place = (one, strip * self.strip + first + tile, number)
                        self.finish(bias, products, write, place, (tile, size, count))

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

        in_pieces(pitch, piece, self.lanes)

    def across(self, tiles: Any, rows: Any, tile: Any, column: Any) -> None:
        """TIR of one tile, transformed across."""
        channels, pitch = self.plain.channels_in, self.image.pitch
        with statements.serial(IN) as row:

            def piece(offset: Any, size: int) -> None:
                first = row * pitch + column * OUT * channels + offset
                taken = [rows[span(first + one * channels, size)] for one in range(IN)]
                for one, value in enumerate(inputs(held(taken, "int16", size))):
                    place = (row * IN + one) * self.of_tiles + tile * channels + offset
                    statements.buffer_store(tiles, value, [span(place, size)])

            in_pieces(channels, piece, self.lanes)

    def each(self, count: int, body: Callable[[Any], None]) -> None:
        """TIR of `body` for each of so many vectors."""
        for vector in range(count):
            body(vector)

    def widen(self, wide: Any, w: Any, block: Any) -> None:
        """TIR of the transformed weights of a block."""
        channels, size = self.plain.channels_in, self.lanes
        with statements.serial(channels // QUAD) as quad:

            def of_vector(vector: Any) -> None:
                for pair in range(QUAD // PAIR):
                    columns = []
                    for column in range(TAPS):
                        taps = [self.tap(w, block, quad, pair, vector, (row, column)) for row in range(TAPS)]
                        columns.append(held(weights(held(taps, "int16", size)), "int16", size))
                    for row in range(IN):
                        for one, value in enumerate(weights([column[row] for column in columns])):
                            place = (row * IN + one) * self.of_weights + (quad * (QUAD // PAIR) + pair) * BLOCK * PAIR
                            statements.buffer_store(wide, value, [T.ramp(place + vector * size, 1, size)])

            self.each(BLOCK // self.words, of_vector)

    def multiply(self, products: Any, tiles: Any, wide: Any, some: tuple[Any, int], vectors: int) -> None:
        """TIR of the products of some tiles with a block of channels, at each of 36 places."""
        (_, size), (most, together) = some, self.registers
        pixels = blocks_of(size, blocks_of(size, most))
        with statements.serial(PLACES) as place:
            for start, vector in product(range(0, size, pixels), range(0, vectors, together)):
                where = list(product(range(min(pixels, size - start)), range(min(together, vectors - vector))))
                self.add_up(products, tiles, wide, place, (some[0], start, vector), where)

    def add_up(
        self,
        products: Any,
        tiles: Any,
        wide: Any,
        place: Any,
        first: tuple[Any, int, int],
        where: list[tuple[int, int]],
    ) -> None:
        """TIR of the products of a few tiles and vectors. first: the tile of the chunk's first, that of it, vector."""
        channels, words, size, (chunk, start, vector_0) = self.plain.channels_in, self.words, self.lanes, first
        sums = statements.alloc_buffer((len(where) * words,), "uint32", scope="local")
        totals = [T.ramp(index * words, 1, words) for index in range(len(where))]
        for total in totals:
            statements.buffer_store(sums, T.broadcast(T.uint32(0), words), [total])
        with statements.serial(channels // PAIR) as pair:
            stored_at = place * self.of_weights + pair * BLOCK * PAIR + vector_0 * size
            w = [wide[T.ramp(stored_at + one * size, 1, size)] for one in range(1 + max(vector for _, vector in where))]
            for total, (tile, vector) in zip(totals, where, strict=True):
                taken = place * self.of_tiles + (chunk + start + tile) * channels + pair * PAIR
                added = sums[total] + T.reinterpret(self.products(tiles, taken, w[vector]), dtype=f"uint32x{words}")
                statements.buffer_store(sums, added, [total])
        for total, (tile, vector) in zip(totals, where, strict=True):
            kept = T.reinterpret(sums[total], dtype=f"int32x{words}")
            at = (place * self.chunk + start + tile) * BLOCK + (vector_0 + vector) * words
            statements.buffer_store(products, kept, [T.ramp(at, 1, words)])

    def finish(
        self,
        bias: Any,
        products: Any,
        write: Write,
        place: tuple[Any, Any, Any],
        within: tuple[Any, int, int],
    ) -> None:
        """TIR of the outputs of a tile: (image, tile, block), and the tile of how many in scratch, and channels."""
        (one, tile, block), (number, _, count), (rows, columns) = place, within, self.plain.positions
        sums, words = statements.alloc_buffer((OUT * OUT * BLOCK,), "int32", scope="local"), self.words

        def of_vector(vector: Any) -> None:
            first = number * BLOCK + vector * words
            start = T.reinterpret(bias[T.ramp(block * BLOCK + vector * words, 1, words)], dtype=f"uint32x{words}")
            for pixel, value in enumerate(self.sums(products, first)):
                whole = T.reinterpret(value * T.broadcast(T.uint32(NINTH), words), dtype=f"int32x{words}")
                total = T.reinterpret(whole >> T.broadcast(T.int32(SHIFT), words), dtype=f"uint32x{words}") + start
                where = T.ramp(pixel * BLOCK + vector * words, 1, words)
                statements.buffer_store(sums, T.reinterpret(total, dtype=f"int32x{words}"), [where])

        self.each(blocks_of(count, words), of_vector)
        across_tiles = self.tiles[1]
        row, column = tile // across_tiles * OUT, tile % across_tiles * OUT
        with statements.grid(T.min(OUT, rows - row), T.min(OUT, columns - column)) as (under, beside):
            pixel = (one * rows + row + under) * columns + column + beside
            write(sums, (under * OUT + beside) * BLOCK, pixel, block, count)

    def sums(self, products: Any, first: Any) -> Iterable[Any]:
        """TIR of a vector of each output of a tile, 576 times too large. first: that of the products at a place."""

        def sum_at(row: int, column: int) -> Any:
            where = (row * IN + column) * self.chunk * BLOCK + first
            return T.reinterpret(products[T.ramp(where, 1, self.words)], dtype=f"uint32x{self.words}")

        across = []
        for column in range(IN):
            taken = held([sum_at(row, column) for row in range(IN)], "uint32", self.words)
            across.append(held(outputs(taken), "uint32", self.words))
        return [value for row in range(OUT) for value in outputs([one[row] for one in across])]


def held(values: Sequence[Any], dtype: str, size: int) -> list[Any]:
    """Values in registers, computed once."""
    kept = statements.alloc_buffer((len(values) * size,), dtype, scope="local")
    places = [span(index * size, size) for index in range(len(values))]
    for place, value in zip(places, values, strict=True):
        statements.buffer_store(kept, value, [place])
    return [kept[place] for place in places]
