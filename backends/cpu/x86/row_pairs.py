"""Depthwise Conv for AVX2, which multiplies pairs of int16: rows of the image two by two, element by element.

      image, channels last           pairs: rows 0 and 1, rows 2 and 3, ...
      [ a a a a a a . . ]
      [ b b b b b b . . ]      ->    [ a b | a b | a b | a b | ... ]      int16
      [ c c c c c c . . ]            [ c d | c d | c d | c d | ... ]
      [ d d d d d d . . ]

A column of three taps whose window starts at an even row is two products of pairs, by (w0, w1) and (w2, 0); that of the
row below, which starts at an odd one, reads the same pairs: (0, w0) and (w1, w2). Every row is widened once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from bevel.backends.cpu.x86.outputs import BlockSums, Results
from bevel.backends.cpu.x86.pairs import OWN_PAIRS
from bevel.backends.cpu.x86.vectors import joined
from bevel.backends.encodings.quads import BLOCK, BYTES, PAIR, QUAD
from bevel.backends.program.op import Operand, scratch
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.expressions import in_pieces, shuffled, span
from bevel.backends.vectors.windows import PaddedInput

WORDS = OWN_PAIRS.words
SIZE = WORDS * PAIR  # int16 of a vector
CHAINS = 2  # blocks of sums at once, in each of two rows
Which = list[tuple[Any, int, int]]  # (column, block, how many of its elements)
Elements = Callable[[Which], None]  # TIR of some blocks


def possible(plain: Conv) -> bool:
    """Whether windows that start at odd rows are those below windows that start at even ones, or there are none."""
    return plain.dilations[0] == 1 and (plain.strides[0] == 1 or plain.strides[0] % PAIR == 0)


@dataclass(frozen=True)
class RowPairs:
    """Of `plain` over `image`, in columns of `blocks` of 16 elements; step, y_step: elements from a column to the next,
    of the image and of the output."""

    plain: Conv
    image: PaddedInput
    blocks: int
    step: int
    y_step: int

    @property
    def together(self) -> int:
        """Rows of the output that read the same pairs."""
        return PAIR if self.plain.strides[0] == 1 and self.plain.positions[0] > 1 else 1

    @property
    def pairs(self) -> int:
        """Of taps, of the longer of two columns."""
        return blocks_of(self.plain.kernel[0] + self.together - 1, PAIR)

    @property
    def image_rows(self) -> int:
        return self.image.bytes // self.image.pitch

    def operands(self) -> Iterable[Operand]:
        """The pairs of an image, and weights: [rows together, pairs of taps, kw, blocks, 16, 2]."""
        pairs = blocks_of(self.image_rows, PAIR) * self.image.pitch * PAIR
        yield scratch("row_pairs", (pairs + BYTES,), "int16")
        size = self.together * self.pairs * self.plain.kernel[1] * self.blocks
        yield scratch("wide", (size * BLOCK * PAIR,), "int16")

    def widen(self, wide: Any, w: Any, rows: int) -> None:
        """TIR of the weights, from quads of taps: [lines, rows, kw, blocks, 16, 4]."""
        kw = self.plain.kernel[1]
        with statements.grid(kw, self.blocks) as (j, block):

            def quads(line: int) -> Any:
                return w[T.ramp((((line * rows) * kw + j) * self.blocks + block) * BYTES, 1, BYTES)]

            for under, pair in product(range(self.together), range(self.pairs)):
                taps = [pair * PAIR - under, pair * PAIR - under + 1]
                exist = [0 <= tap < self.plain.kernel[0] for tap in taps]
                read = sorted({tap // QUAD for tap, there in zip(taps, exist, strict=True) if there})
                vectors = [*(quads(line) for line in read), T.broadcast(T.int8(0), BYTES)]
                places = [
                    read.index(tap // QUAD) * BYTES + channel * QUAD + tap % QUAD if there else len(read) * BYTES
                    for channel in range(BLOCK)
                    for tap, there in zip(taps, exist, strict=True)
                ]
                kept = T.cast(shuffled(vectors, places), f"int16x{BLOCK * PAIR}")
                first = self.weights_at(under, pair, j, block)
                statements.buffer_store(wide, kept, [T.ramp(first, 1, BLOCK * PAIR)])

    def weights_at(self, under: int, pair: int, j: Any, block: Any) -> Any:
        """Where the weights of a block lie."""
        return (((under * self.pairs + pair) * self.plain.kernel[1] + j) * self.blocks + block) * BLOCK * PAIR

    def interleave(self, pairs: Any, image: Any, one: Any) -> None:
        """TIR of the pairs of an image."""
        pitch, last = self.image.pitch, self.image_rows - 1
        with statements.serial(blocks_of(self.image_rows, PAIR)) as pair:

            def piece(offset: Any, size: int) -> None:
                rows = [T.min(pair * PAIR + under, last) for under in range(PAIR)]
                first, second = (image[span(one * self.image.bytes + row * pitch + offset, size)] for row in rows)
                where = T.ramp((pair * pitch + offset) * PAIR, 1, size * PAIR)
                if size == 1:
                    mixed = shuffled([first, second], range(PAIR))
                else:
                    mixed = shuffled([first, second], [place // PAIR + place % PAIR * size
                                                       for place in range(size * PAIR)])  # fmt: skip
                statements.buffer_store(pairs, T.cast(mixed, f"int16x{size * PAIR}"), [where])

            in_pieces(pitch, piece, BLOCK * PAIR)

    def elements(
        self, at: tuple[Any, Any, Any, Any], results: Results, place: tuple[Any, Any, int], which: Which
    ) -> None:
        """TIR of some blocks in `rows` rows of the output, from (image, row, rows); at: pairs, weights, bias, y."""
        (pairs, wide, bias, y), (one, row, rows), p = at, place, self.plain
        kh, kw = p.kernel
        chains = list(product(range(len(which)), range(rows), range(BLOCK // WORDS)))
        sums = statements.alloc_buffer((len(chains) * WORDS,), "int32", scope="local")
        totals = [T.ramp(index * WORDS, 1, WORDS) for index in range(len(chains))]
        for total, (number, _, vector) in zip(totals, chains, strict=True):
            statements.buffer_store(sums, bias[T.ramp(which[number][1] * BLOCK + vector * WORDS, 1, WORDS)], [total])
        first = T.floordiv(row * p.strides[0], PAIR) * self.image.pitch
        for pair, j in product(range(self.pairs), range(kw)):
            for total, (number, under, vector) in zip(totals, chains, strict=True):
                if pair * PAIR - under >= kh:
                    continue
                column, block, _ = which[number]
                element = first + pair * self.image.pitch + column * self.step + block * BLOCK
                element = element + j * p.dilations[1] * p.channels_in
                x = pairs[T.ramp(element * PAIR + vector * SIZE, 1, SIZE)]
                w = wide[T.ramp(self.weights_at(under, pair, j, block) + vector * SIZE, 1, SIZE)]
                statements.buffer_store(sums, OWN_PAIRS.added(sums[total], x, w), [total])
        for under in range(rows):
            every = [joined([sums[total] for total, chain in zip(totals, chains, strict=True)
                             if chain[:2] == (number, under)]) for number in range(len(which))]  # fmt: skip
            line_of_y = (one * p.positions[0] + row + under) * p.positions[1] * p.channels_in
            results.store(y, line_of_y + which[0][0] * self.y_step, in_row(which, every, self.y_step))


def in_row(which: Which, words: Sequence[Any], y_step: int) -> list[BlockSums]:
    """BlockSums of neighbouring columns of the same blocks; offsets: from the start of the first column on."""
    blocks = len({block for _, block, _ in which})
    return [BlockSums(one, block, number // blocks * y_step + block * BLOCK, count)
            for number, (one, (_, block, count)) in enumerate(zip(words, which, strict=True))]  # fmt: skip


def in_columns(count: int, blocks: list[int], chains: int, elements: Elements) -> None:
    """TIR of `count` columns of blocks that have so many elements each, `chains` at once."""
    across = max(1, chains // len(blocks))
    for first in range(0, len(blocks), chains):
        some = list(enumerate(blocks))[first : first + chains]
        whole, rest = divmod(count, across)
        if whole:
            with statements.serial(whole) as step:
                elements([(step * across + j, *one) for j in range(across) for one in some])
        if rest:
            elements([(whole * across + j, *one) for j in range(rest) for one in some])
