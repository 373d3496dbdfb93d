"""The loops of windows for AMX: 16 windows by 16 channels an instruction, 64 bytes of each window at a time.

    TDPBUSD     C[m, n] += sum over k of A[m, 4 k .. 4 k + 3] * B[k, 4 n .. 4 n + 3]     16 x 16 words, k to 16

A: quads of 16 windows, read where they lie, `right` bytes apart; B: weights as every level has them, a row a quad. Two
by two tiles of sums are held at once, then written to scratch, from where they are rescaled as vectors.

Where rows of the output are short, several make a strip: the windows between the end of one row and the start of the
next, which hang over the edge of the image, are computed and left out.

Source: Intel Architecture Instruction Set Extensions Programming Reference, chapter 3 (AMX).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from bevel.backends.cpu.x86.outputs import BlockSums, Results
from bevel.backends.encodings.quads import BLOCK, BYTES, QUAD
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import T, statements, tirx
from bevel.backends.vectors.windows import Buffers, Windows

ROWS = 16  # of a tile, and quads in a row
PAIR = 2  # tiles of windows, and blocks of channels, at once
SUMS, WINDOWS, WEIGHTS = 0, 4, 6  # the first tile register of each
LONGEST = 8  # tiles of windows in a strip
# Cycles, measured: of one instruction, of sums that go through scratch, a tile, and of a call's configuration.
CYCLES, STORED, START = 16, 60, 900


@dataclass(frozen=True)
class Strip:
    """`rows` of the output side by side, each `step` windows after the one before it, of which `columns` count."""

    rows: int
    step: int
    columns: int

    @property
    def tiles(self) -> int:
        return blocks_of((self.rows - 1) * self.step + self.columns, ROWS)


def strip_of(windows: Windows) -> Strip:
    """The one with the fewest tiles for a row."""
    if windows.rows == 1 or windows.down % windows.right:
        return Strip(1, 0, windows.columns)
    step = windows.down // windows.right
    strips = (Strip(rows, step, windows.columns) for rows in range(1, windows.rows + 1))
    return min(
        (one for one in strips if one.rows == 1 or one.tiles <= LONGEST),
        key=lambda one: (one.tiles / one.rows, one.rows),
    )


def cycles(windows: Windows, channels: int) -> float:
    """Of all products."""
    strip = strip_of(windows)
    strips = blocks_of(windows.rows, strip.rows) * windows.image.batch
    steps = windows.segments * blocks_of(windows.quads, ROWS)
    return START + (CYCLES * steps + STORED) * blocks_of(channels, BLOCK) * strips * strip.tiles


def slack(windows: Windows) -> int:
    """Bytes behind the image that a tile may read."""
    return ROWS * windows.right + ROWS * QUAD


def room(windows: Windows, channels: int) -> int:
    """Words of scratch for sums."""
    return min(strip_of(windows).tiles, LONGEST) * ROWS * min(PAIR, blocks_of(channels, BLOCK)) * BLOCK


@dataclass(frozen=True)
class MatrixLoops:
    """together: blocks of channels whose weights lie side by side; sums: scratch of `room` words."""

    windows: Windows
    channels: int
    together: int
    results: Results
    at: Buffers
    sums: Any

    @property
    def quads(self) -> int:
        """Of a step: equal parts of a segment, of 16 at most."""
        return self.windows.quads // blocks_of(self.windows.quads, ROWS)

    def build(self) -> None:
        """TIR of all outputs."""
        self.configure()
        strip, windows = strip_of(self.windows), self.windows
        whole, rest = divmod(windows.rows, strip.rows)
        for first, count in self.pairs():
            with statements.grid(first[1], windows.image.batch) as (index, one):
                block = first[0] + index * PAIR
                if whole:
                    with statements.serial(whole) as number:
                        self.strip(strip, block, count, one, number * strip.rows)
                if rest:
                    self.strip(Strip(rest, strip.step, strip.columns), block, count, one, whole * strip.rows)
        statements.evaluate(call("llvm.x86.tilerelease"))

    def pairs(self) -> list[tuple[tuple[int, int], int]]:
        """((first block, how many pairs from it on), channels of each)."""
        whole, rest = divmod(self.channels, PAIR * BLOCK)
        return [((0, whole), PAIR * BLOCK)][: min(1, whole)] + [((PAIR * whole, 1), rest)][: min(1, rest)]

    def configure(self) -> None:
        """TIR that says how large the tile registers are."""
        settings = statements.alloc_buffer((64,), "uint8", scope="local")
        numbers = {0: 1}  # the only palette
        for register in range(8):
            rows = self.quads if register >= WEIGHTS else ROWS
            row_bytes = self.quads * QUAD if WINDOWS <= register < WEIGHTS else BLOCK * QUAD
            numbers |= {16 + 2 * register: row_bytes, 48 + register: rows}
        for place in range(64):
            statements.buffer_store(settings, T.uint8(numbers.get(place, 0)), [place])
        statements.evaluate(call("llvm.x86.ldtilecfg", tirx.address_of(settings[0])))

    def strip(self, strip: Strip, block: Any, channels: int, one: Any, row: Any) -> None:
        """TIR of `channels` from a block on, in the windows of a strip."""
        source = one * self.windows.image.bytes + row * self.windows.down
        if strip.tiles <= LONGEST:
            self.products(source, strip.tiles, block, channels)
            self.written(strip, block, channels, (one, row, 0), strip.columns)
            return
        span = LONGEST * ROWS  # columns of a long row
        whole, rest = divmod(strip.columns, span)
        with statements.serial(whole) as part:
            self.products(source + part * span * self.windows.right, LONGEST, block, channels)
            self.written(strip, block, channels, (one, row, part * span), span)
        if rest:
            self.products(source + whole * span * self.windows.right, blocks_of(rest, ROWS), block, channels)
            self.written(strip, block, channels, (one, row, whole * span), rest)

    def products(self, source: Any, tiles: int, block: Any, channels: int) -> None:
        """TIR that leaves the sums of some tiles of windows in scratch."""
        whole, rest = divmod(tiles, PAIR)
        if whole:
            with statements.serial(whole) as pair:
                self.tile(source, pair * PAIR, PAIR, block, blocks_of(channels, BLOCK))
        if rest:
            self.tile(source, whole * PAIR, rest, block, blocks_of(channels, BLOCK))

    def tile(self, source: Any, first: Any, tiles: int, block: Any, blocks: int) -> None:
        """TIR of `tiles` of windows by `blocks`."""
        windows, at = self.windows, self.at
        registers = [(m, n, SUMS + m * PAIR + n) for m, n in product(range(tiles), range(blocks))]
        for *_, register in registers:
            statements.evaluate(call("llvm.x86.tilezero", T.int8(register)))
        start = source + first * ROWS * windows.right
        steps = windows.quads // self.quads
        with statements.grid(windows.along, windows.across, steps) as (i, j, step):
            quad = ((i * windows.across + j) * steps + step) * self.quads
            taken = start + i * windows.next_row + j * windows.next_segment + step * self.quads * QUAD
            for m in range(tiles):
                place = tirx.address_of(at.image[taken + m * ROWS * windows.right])
                statements.evaluate(loaded(WINDOWS + m, place, windows.right))
            for n in range(blocks):
                part, inside = (block + n) // self.together, (block + n) % self.together
                stored_at = ((part * windows.segments * windows.quads + quad) * self.together + inside) * BYTES
                statements.evaluate(loaded(WEIGHTS + n, tirx.address_of(at.weights[stored_at]), self.together * BYTES))
            for m, n, register in registers:
                operands = (T.int8(register), T.int8(WINDOWS + m), T.int8(WEIGHTS + n))
                statements.evaluate(call("llvm.x86.tdpbusd", *operands))
        for m, n, register in registers:
            place = tirx.address_of(self.sums[((first + m) * ROWS * blocks + n) * BLOCK])
            statements.evaluate(call("llvm.x86.tilestored64", T.int8(register), place, T.int64(blocks * BYTES)))

    def written(self, strip: Strip, block: Any, channels: int, place: tuple[Any, Any, Any], columns: int) -> None:
        """TIR that rescales the sums in scratch."""
        (one, row, column), blocks = place, blocks_of(channels, BLOCK)
        with statements.grid(strip.rows, columns) as (down, right):
            pixel = ((one * self.windows.rows + row + down) * self.windows.columns + column + right) * self.channels
            found = []
            for n in range(blocks):
                channel = block + n
                words = self.sums[T.ramp(((down * strip.step + right) * blocks + n) * BLOCK, 1, BLOCK)]
                words = words + self.at.bias[T.ramp(channel * BLOCK, 1, BLOCK)]
                found.append(BlockSums(words, channel, n * BLOCK, min(BLOCK, channels - n * BLOCK)))
            self.results.store(self.at.y, pixel + block * BLOCK, found)


def loaded(register: int, place: Any, step: int) -> Any:
    """A tile from memory, its rows `step` bytes apart."""
    return call("llvm.x86.tileloadd64", T.int8(register), place, T.int64(step))


def call(name: str, *arguments: Any) -> Any:
    return T.call_llvm_intrin(T.llvm_lookup_intrinsic_id(name), *arguments, dtype="void")
