"""Depthwise Conv for x86: four rows of the image interleaved byte by byte, so that a quad is four taps of a channel.

      image, channels last              line: for each byte of a row, those of the three rows below it
      [ a a a a a a . . ]
      [ b b b b b b . . ]      ->       [ a b c d | a b c d | a b c d | ... ]       quads, one an element
      [ c c c c c c . . ]
      [ d d d d d d . . ]

A column of up to four taps of 16 elements is one instruction then, or a few. Where windows of three rows move down by
one, the same line serves the output row below, by weights one place later: (w0, w1, w2, 0) and (0, w0, w1, w2).
More than four rows of taps take several lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cpu.x86 import row_pairs
from bevel.backends.cpu.x86.packed import PackedX86, folding, in_floats, refused, uncoded
from bevel.backends.cpu.x86.row_pairs import Elements, RowPairs, Which, in_columns, in_row
from bevel.backends.cpu.x86.vectors import ByteProducts
from bevel.backends.encodings.quads import (
    BLOCK,
    BYTES,
    QUAD,
)
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Operand, constant, scratch
from bevel.backends.program.ops import conv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.functions import prim_func
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors import windows
from bevel.backends.vectors.expressions import in_pieces, span, spread
from bevel.backends.vectors.windows import PaddedInput
from bevel.calib.arithmetic.requantize import Int8, Int32, Output

CHAINS = 4  # blocks of sums at once


@dataclass(frozen=True)
class Depthwise(PackedX86):
    """w: int8 [lines, rows, kw, blocks, 16, 4]; bias: int32 [blocks, 16]; rescaling: int64 [blocks, 8, 8]; the image,
    and its lines, in scratch."""

    rates: ClassVar[Rates] = Rates(mac=2.4e-11, byte=5.4e-11, code=3000, unit=Resource.LATENCY)

    plain: Conv

    @property
    def image(self) -> PaddedInput:
        return windows.of_conv(self.plain, flat=False).image

    @property
    def lines(self) -> int:
        return blocks_of(self.plain.kernel[0], QUAD)

    @property
    def rows(self) -> int:
        """Of the output that a line serves."""
        p = self.plain
        return 2 if p.strides[0] == p.dilations[0] == 1 and p.kernel[0] < QUAD and p.positions[0] > 1 else 1

    @property
    def pixels(self) -> int:
        """In a block: several where their channels fill it, and its elements are neighbours."""
        channels = self.plain.channels_in
        return BLOCK // channels if self.plain.strides[1] == 1 and BLOCK % channels == 0 else 1

    @property
    def blocks(self) -> int:
        """Of the channels of a pixel, or of `pixels`."""
        return blocks_of(self.plain.channels_in, BLOCK)

    def operands(self) -> tuple[Operand, ...]:
        x, *_, y = self.plain.operands()
        kw, image = self.plain.kernel[1], self.image
        return (
            x,
            constant("w", (self.lines, self.rows, kw, self.blocks, BLOCK, QUAD), "int8"),
            constant("bias", (self.blocks, BLOCK), "int32"),
            self.rescaling(self.blocks),
            y,
            image.operand(0),
            scratch("lines", (self.lines * image.pitch * QUAD + BYTES,), "uint8"),
            *(self.row_pairs.operands() if row_pairs.possible(self.plain) else ()),
        )

    def packed(self, w: Int8, bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Array, ...]:
        kh, kw = self.plain.kernel
        taps = np.zeros((self.rows, self.lines * QUAD, kw, self.blocks * BLOCK), np.int8)
        channels = self.repeated(w.reshape(-1, kh, kw))
        for row in range(self.rows):
            taps[row, row : row + kh, :, : len(channels)] = channels.transpose(1, 2, 0)
        quads = taps.reshape(self.rows, self.lines, QUAD, kw, self.blocks, BLOCK).transpose(1, 0, 3, 4, 5, 2)
        outputs = (self.repeated(one) for one in (bias, multiplier, shift))
        return np.ascontiguousarray(quads), *self.pack_outputs((channels, *outputs), self.blocks)

    def repeated(self, channels: Array) -> Array:
        """What each of `pixels` takes."""
        return np.tile(channels, (self.pixels, *[1] * (channels.ndim - 1)))

    def unpacked(self, *constants: Array) -> tuple[Array, ...]:
        packed, bias, rescaling = constants
        channels, (kh, kw) = self.plain.channels_in, self.plain.kernel
        taps = packed[:, 0].transpose(2, 3, 0, 4, 1).reshape(self.blocks * BLOCK, -1, kw)[:channels, :kh]
        w = np.ascontiguousarray(taps)
        return w[..., np.newaxis], *self.unpack_outputs(w, bias, rescaling)

    def over_rows(
        self, rows: int, row: Callable[[Any, Any, int], None], image: Callable[[Any], None] | None = None
    ) -> None:
        """TIR of all outputs, `rows` at once; `image` before those of an image."""
        groups, rest = divmod(self.plain.positions[0], rows)
        with statements.serial(self.plain.batch) as one:
            if image is not None:
                image(one)
            with statements.serial(groups) as group:
                row(one, group * rows, rows)
            if rest:
                row(one, groups * rows, rest)

    def loops(self, isa: ByteProducts, buffers: tuple[Any, ...]) -> None:
        x, *_, image, lines = buffers[:7]
        self.image.copy(image, x)

        def row(one: Any, row: Any, rows: int) -> None:
            self.interleave(image, lines, one, row)
            chains = max(1, min(CHAINS, isa.blocks // 2))
            self.output_row(chains, partial(self.elements, isa, buffers, (one, row, rows)))

        self.over_rows(self.rows, row)

    @property
    def row_pairs(self) -> RowPairs:
        """AVX2's."""
        channels = self.plain.channels_in
        steps = (BLOCK, BLOCK) if self.pixels > 1 else (self.plain.strides[1] * channels, channels)
        return RowPairs(self.plain, self.image, self.blocks, *steps)

    def in_pairs(self, buffers: tuple[Any, ...]) -> None:
        """TIR for AVX2, where row pairs are `possible`."""
        x, w, bias, rescaling, y, image, _, pairs, wide = buffers
        own, results = self.row_pairs, self.finish(rescaling, row_pairs.WORDS)
        self.image.copy(image, x)
        own.widen(wide, w, self.rows)

        def row(one: Any, row: Any, rows: int) -> None:
            place = (one, row, rows)
            self.output_row(row_pairs.CHAINS, partial(own.elements, (pairs, wide, bias, y), results, place))

        self.over_rows(own.together, row, partial(own.interleave, pairs, image))

    def build(self, name: str) -> Any:
        if not row_pairs.possible(self.plain):
            return super().build(name)
        return prim_func(name, self.operands(), self.in_pairs)

    def interleave(self, image: Any, lines: Any, one: Any, row: Any) -> None:
        """TIR of the lines that an output row needs."""
        where, p = self.image, self.plain
        last = where.bytes // where.pitch - 1

        def piece(line: int) -> Any:
            def interleaved(offset: Any, size: int) -> None:
                quad: Any = None
                for place in range(QUAD):
                    at = T.min(row * p.strides[0] + (line * QUAD + place) * p.dilations[0], last)
                    taken = image[span(one * where.bytes + at * where.pitch + offset, size)]
                    byte = T.cast(taken, f"uint32x{size}" if size > 1 else "uint32") << spread(
                        T.uint32(8 * place), size
                    )
                    quad = byte if quad is None else quad | byte
                kept = T.reinterpret(quad, dtype=f"uint8x{QUAD * size}")
                first = (line * where.pitch + offset) * QUAD
                statements.buffer_store(lines, kept, [T.ramp(first, 1, QUAD * size)])

            return interleaved

        for line in range(self.lines):
            in_pieces(where.pitch, piece(line), BLOCK)

    def output_row(self, chains: int, elements: Elements) -> None:
        """TIR of a row of the output, or of some at once."""
        columns, channels = self.plain.positions[1], self.plain.channels_in
        if self.pixels > 1:
            whole, rest = divmod(columns * channels, BLOCK)
            in_columns(whole, [BLOCK], chains, elements)
            if rest:
                elements([(whole, 0, rest)])
            return
        in_columns(columns, [min(BLOCK, channels - block * BLOCK) for block in range(self.blocks)], chains, elements)

    def elements(
        self,
        isa: ByteProducts,
        buffers: tuple[Any, ...],
        place: tuple[Any, Any, int],
        which: Which,
    ) -> None:
        """TIR of some blocks: (column, block, how many of its elements)."""
        _, w, bias, rescaling, y, _, lines = buffers[:7]
        (one, row, rows), p, where = place, self.plain, self.image
        channels, kw = p.channels_in, p.kernel[1]
        step = BLOCK if self.pixels > 1 else p.strides[1] * channels
        chains = list(product(range(len(which)), range(rows), range(isa.vectors)))
        sums = statements.alloc_buffer((len(chains) * isa.words,), "int32", scope="local")
        for index, (number, _, vector) in enumerate(chains):
            start = T.broadcast(T.int32(0), isa.words)
            if isa.in_order:
                start = bias[T.ramp(which[number][1] * BLOCK + vector * isa.words, 1, isa.words)]
            statements.buffer_store(sums, start, [isa.total(index)])
        for line, j in product(range(self.lines), range(kw)):
            for index, (number, under, vector) in enumerate(chains):
                column, block, _ = which[number]
                at = line * where.pitch + column * step + j * p.dilations[1] * channels + block * BLOCK
                weights = (((line * self.rows + under) * kw + j) * self.blocks + block) * BYTES
                x, taken = isa.elements(lines, at * QUAD)[vector], isa.weights(w, weights)[vector]
                statements.buffer_store(sums, isa.added(sums[isa.total(index)], x, taken), [isa.total(index)])
        y_step = BLOCK if self.pixels > 1 else channels
        for under in range(rows):
            every = []
            for number, (_, block, _) in enumerate(which):
                first = (number * rows + under) * isa.vectors
                words = isa.block([sums[isa.total(first + vector)] for vector in range(isa.vectors)])
                every.append(words if isa.in_order else words + bias[T.ramp(block * BLOCK, 1, BLOCK)])
            line_of_y = (one * p.positions[0] + row + under) * p.positions[1] * channels
            first_of_y = line_of_y + which[0][0] * y_step
            self.finish(rescaling, isa.words).store(y, first_of_y, in_row(which, every, y_step))


def specialize(call: Call, target: Target) -> Special | str:
    given = uncoded(call)
    if isinstance(given, str):
        return given
    plain = given.kernel
    if not isinstance(plain, Conv):
        return "not a Conv"
    if not plain.depthwise or plain.channels_in == 1:
        return "not depthwise"
    kernel = Depthwise(plain, in_floats=True)
    if not in_floats(given.constants, plain.output):
        kernel = Depthwise(plain, *folding(given.constants, plain.output))
    return refused(given, target) or Special(kernel, kernel.packed(*given.constants))


def cases() -> Iterable[Depthwise]:
    """What the plain kernel has; then channels that fill a block, that do not, several blocks; rows of taps in one and
    in two lines, strides, dilations, an odd number of output rows."""
    for plain in conv.cases():
        if plain.depthwise and plain.channels_in > 1:
            yield Depthwise(plain)
    base = replace(next(iter(conv.cases())), height=7, width=11, kernel=(3, 3), pads=(1, 1, 1, 1), x_zero_point=-7)
    for channels in (2, 8, 16, 24, 37, 48, 80, 144):
        yield Depthwise(replace(base, channels_in=channels, channels_out=channels, groups=channels))
    wide = replace(base, channels_in=32, channels_out=32, groups=32, batch=2)
    yield Depthwise(replace(wide, strides=(2, 2), pads=(0, 0, 1, 1)))
    yield Depthwise(replace(base, channels_in=37, channels_out=37, groups=37), folded=True)
    yield Depthwise(replace(base, channels_in=37, channels_out=37, groups=37), in_doubles=True)
    for channels in (8, 37, 64):
        yield Depthwise(replace(base, channels_in=channels, channels_out=channels, groups=channels), in_floats=True)
    yield Depthwise(replace(wide, output=Output(-128, -128, 99), strides=(2, 2)), in_floats=True)
    yield Depthwise(replace(wide, output=Output(-128)), folded=True)
    yield Depthwise(replace(wide, kernel=(5, 5), pads=(2, 2, 2, 2)))
    yield Depthwise(replace(wide, kernel=(9, 1), height=20, pads=(0, 0, 0, 0), strides=(2, 1)))
    yield Depthwise(replace(wide, kernel=(3, 3), dilations=(2, 2), pads=(2, 2, 2, 2)))
    yield Depthwise(replace(wide, kernel=(2, 2), height=2, width=2, pads=(0, 0, 0, 0)))
    yield Depthwise(replace(wide, kernel=(1, 7), height=1, width=30, pads=(0, 3, 0, 3)))
