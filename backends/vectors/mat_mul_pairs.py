"""MatMul of two activations in pairs of int16, each of which meets several columns in one instruction.

Both factors are copied into scratch first, a as rows of pairs, b as vectors of 16 pairs, whatever their strides: for
each of them one move serves as many products as the other one has rows or columns. The zero point of an int16 stays:

    sum (a - z) b  =  sum a b - z sum b        modulo 2**32, which the result lies within
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol

from bevel.backends.encodings.quads import BLOCK, PAIR
from bevel.backends.program.kernel import Unpacked
from bevel.backends.program.op import Operand, scratch
from bevel.backends.program.ops import mat_mul
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.functions import in_grid, prim_func
from bevel.backends.tir.lazy import T, statements
from bevel.backends.tir.loops import offset_of
from bevel.backends.vectors.expressions import in_pieces, shuffled, span, spread
from bevel.backends.vectors.words import LEAVES_WORDS, WIDEST

Shape = tuple[int, int]  # rows, and blocks of 16 columns, of a tile


class PairSums(Protocol):
    """How an instruction set adds up products of pairs, in vectors of so many words."""

    @property
    def words(self) -> int: ...

    @property
    def vectors(self) -> int:
        """Of a block of 16 columns."""
        ...

    def added(self, total: Any, x: Any, w: Any) -> Any:
        """`total` with the products of two vectors of pairs."""
        ...

    def spread(self, buffer: Any, place: Any) -> Any:
        """A pair of int16 that meets all words of a vector."""
        ...

    def ones(self) -> Any:
        """The pair 1, 1 alike."""
        ...


@dataclass(frozen=True)
class MatMulOfPairs(Unpacked):
    """The operands and results of `plain`; both factors as int16 in scratch."""

    plain: MatMul

    @property
    def pairs(self) -> int:
        """Of a sum."""
        return blocks_of(self.plain.k, PAIR)

    @property
    def blocks(self) -> int:
        """Of 16 columns."""
        return blocks_of(self.plain.n, BLOCK)

    def operands(self) -> tuple[Operand, ...]:
        return (
            *self.plain.operands(),
            scratch("rows", (self.plain.m * self.pairs * PAIR,), "int16"),
            scratch("columns", (self.pairs * self.blocks * BLOCK * PAIR,), "int16"),
            scratch("starts", (self.blocks * BLOCK,), "int32"),
            *((scratch("row_starts", (self.plain.m,), "int32"),) if self.right else ()),
        )

    @property
    def left(self) -> int:
        """The zero point that a keeps in scratch."""
        return self.plain.a_zero_point if self.plain.a_dtype == "int16" else 0

    @property
    def right(self) -> int:
        """The zero point that b keeps."""
        return self.plain.b_zero_point if self.plain.b_dtype == "int16" else 0

    def function(self, name: str, isa: PairSums) -> Any:
        p = self.plain

        def loops(buffers: tuple[Any, ...]) -> None:
            a, b, y, rows, columns, starts, *row_starts = buffers

            def one(batch: tuple[Any, ...]) -> None:
                at_a, at_b, at_y = (
                    offset_of(batch, strides[:-2]) if batch else 0
                    for strides in (p.a_strides, p.b_strides, p.y_strides)
                )
                self.copy_rows(rows, a, at_a)
                self.copy_columns(isa, columns, b, at_b)
                self.start(isa, columns, starts)
                self.start_rows(rows, row_starts)
                self.products(isa, (rows, columns, starts, row_starts), y, at_y)

            in_grid(p.batch, one)

        return prim_func(name, self.operands(), loops)

    def copy_rows(self, rows: Any, a: Any, first: Any) -> None:
        """TIR of a as int16, rows of pairs, the last one filled up with 0."""
        p, size, taken_off = self.plain, self.pairs * PAIR, self.plain.a_zero_point - self.left
        with statements.serial(p.m) as row:
            source, target = first + row * p.a_strides[-2], row * size
            if p.a_strides[-1] == 1:
                in_pieces(p.k, lambda at, count: move(rows, target + at, a, source + at, count, taken_off), BLOCK)
            else:
                with statements.serial(p.k) as at:
                    move(rows, target + at, a, source + at * p.a_strides[-1], 1, taken_off)
            if p.k % PAIR:
                statements.buffer_store(rows, T.int16(0), [target + p.k])

    def copy_columns(self, isa: PairSums, columns: Any, b: Any, first: Any) -> None:
        """TIR of b as int16: for each pair of its rows, the pairs of all columns, a last one filled up with 0."""
        p, pitch = self.plain, self.blocks * BLOCK * PAIR
        down, right = p.b_strides[-2:]
        if right == 1:
            self.copy_lines(columns, b, first)
        elif self.copy_turned(isa, columns, b, first):
            return
        else:
            with statements.grid(p.n, p.k // PAIR) as (column, pair):
                for row in range(PAIR):
                    at = pair * pitch + column * PAIR + row
                    move(columns, at, b, first + (pair * PAIR + row) * down + column * right, 1, self.taken_off)
        if p.k % PAIR:
            with statements.serial(p.n) as column:
                at = (self.pairs - 1) * pitch + column * PAIR
                move(columns, at, b, first + (p.k - 1) * down + column * right, 1, self.taken_off)
                statements.buffer_store(columns, T.int16(0), [at + 1])

    @property
    def taken_off(self) -> int:
        """The zero point that b loses in scratch."""
        return self.plain.b_zero_point - self.right

    def copy_lines(self, columns: Any, b: Any, first: Any) -> None:
        """TIR of whole pairs of rows, whose elements are neighbours."""
        p, pitch, zero = self.plain, self.blocks * BLOCK * PAIR, self.taken_off
        down = p.b_strides[-2]

        def piece(at: Any, count: int) -> None:
            if count == 1:
                for row in range(PAIR):
                    move(columns, target + at * PAIR + row, b, source + row * down + at, 1, zero)
                return
            both = [widened(b, source + row * down + at, count, zero) for row in range(PAIR)]
            mixed = shuffled(both, [place + row * count for place in range(count) for row in range(PAIR)])
            statements.buffer_store(columns, mixed, [T.ramp(target + at * PAIR, 1, count * PAIR)])

        with statements.serial(p.k // PAIR) as pair:
            source, target = first + pair * PAIR * down, pair * pitch
            in_pieces(p.n, piece, BLOCK)

    def copy_turned(self, isa: PairSums, columns: Any, b: Any, first: Any) -> bool:
        """TIR of columns whose elements are neighbours, where a machine has a way of its own; whether there is any."""
        return False

    def start(self, isa: PairSums, columns: Any, starts: Any) -> None:
        """TIR of what the sums of each column start from."""
        pitch = self.blocks * BLOCK * PAIR
        with statements.serial(self.blocks * isa.vectors) as vector:
            where = T.ramp(vector * isa.words, 1, isa.words)
            statements.buffer_store(starts, T.broadcast(T.int32(0), isa.words), [where])
            if self.left:
                with statements.serial(self.pairs) as pair:
                    taken = columns[T.ramp(pair * pitch + vector * isa.words * PAIR, 1, isa.words * PAIR)]
                    statements.buffer_store(starts, isa.added(starts[where], isa.ones(), taken), [where])
                off = starts[where] * T.broadcast(T.int32(-self.left), isa.words)
                statements.buffer_store(starts, off, [where])

    def start_rows(self, rows: Any, row_starts: list[Any]) -> None:
        """TIR of what the sums of each row start from, beside those of columns."""
        p, size = self.plain, self.pairs * PAIR
        if not self.right:
            return
        with statements.serial(p.m) as row:
            start = (p.k * self.left * self.right + 2**31) % 2**32 - 2**31
            statements.buffer_store(row_starts[0], T.int32(start), [row])
            with statements.serial(p.k) as at:
                term = T.cast(rows[row * size + at], "int32") * T.int32(-self.right)
                statements.buffer_store(row_starts[0], row_starts[0][row] + term, [row])

    def products(self, isa: PairSums, given: tuple[Any, ...], y: Any, first: Any) -> None:
        """TIR of one matrix of y."""
        most, together = self.tile_size(isa)
        for block in range(0, self.blocks, together):
            blocks = min(together, self.blocks - block)
            whole, rest = divmod(self.plain.m, most)
            if whole:
                with statements.serial(whole) as step:
                    self.tile(isa, given, y, (first, step * most, block), (most, blocks))
            if rest:
                self.tile(isa, given, y, (first, whole * most, block), (rest, blocks))

    @abstractmethod
    def tile_size(self, isa: PairSums) -> Shape:
        """The most that is computed at once."""

    @abstractmethod
    def store(self, y: Any, place: Any, sums: Sequence[Any], count: int) -> None:
        """TIR that rescales the first `count` sums of a block and writes them to neighbours in y."""

    def tile(self, isa: PairSums, given: tuple[Any, ...], y: Any, place: tuple[Any, Any, int], tile: Shape) -> None:
        """TIR of some rows by some blocks of columns, from (start of the matrix, row, block) on."""
        p, (rows, columns, starts, row_starts), (first, row, block) = self.plain, given, place
        size, pitch = isa.words * PAIR, self.blocks * BLOCK * PAIR
        where = list(product(range(tile[0]), range(tile[1] * isa.vectors)))
        sums = statements.alloc_buffer((len(where) * isa.words,), "int32", scope="local")
        at = [T.ramp(index * isa.words, 1, isa.words) for index in range(len(where))]
        for index, (down, vector) in enumerate(where):
            start = starts[T.ramp(block * BLOCK + vector * isa.words, 1, isa.words)]
            if self.right:
                start = start + T.broadcast(row_starts[0][row + down], isa.words)
            statements.buffer_store(sums, start, [at[index]])
        with statements.serial(self.pairs) as pair:
            for index, (down, vector) in enumerate(where):
                x = isa.spread(rows, (row + down) * self.pairs * PAIR + pair * PAIR)
                w = columns[T.ramp(pair * pitch + block * BLOCK * PAIR + vector * size, 1, size)]
                statements.buffer_store(sums, isa.added(sums[at[index]], x, w), [at[index]])
        for down, which in product(range(tile[0]), range(tile[1])):
            index = (down * tile[1] + which) * isa.vectors
            words = [sums[at[index + vector]] for vector in range(isa.vectors)]
            column = (block + which) * BLOCK
            self.store(y, first + (row + down) * p.y_strides[-2] + column, words, min(BLOCK, p.n - column))


def widened(buffer: Any, place: Any, count: int, zero_point: int) -> Any:
    """Elements as int16, with a zero point taken off."""
    taken = T.cast(buffer[span(place, count)], f"int16x{count}" if count > 1 else "int16")
    return taken - spread(T.int16(zero_point), count) if zero_point else taken


def move(target: Any, to: Any, source: Any, place: Any, count: int, zero_point: int) -> None:
    statements.buffer_store(target, widened(source, place, count, zero_point), [span(to, count)])


def why_not(plain: MatMul) -> str | None:
    """Why pairs cannot compute it, if they cannot."""
    if plain.sum_dtype != "int32":
        return "its sums take 64 bits"
    if plain.counted:
        return f"it counts its {plain.counted}"
    if not {plain.a_dtype, plain.b_dtype} <= {"int8", "int16"}:
        return f"factors of {plain.a_dtype} and {plain.b_dtype}"
    if plain.y_strides[-1] != 1:
        return "columns of the result that are no neighbours"
    if not plain.shift or plain.reach * plain.multiplier >> plain.shift >= WIDEST:
        return LEAVES_WORDS
    return None


def plain_cases() -> Iterator[MatMul]:
    """What the plain kernel has, as far as pairs compute it; then more columns than a vector has, and odd sums."""
    yield from (one for one in mat_mul.cases() if why_not(one) is None)
    for m, k, n in ((5, 7, 16), (17, 32, 65), (65, 65, 32), (3, 128, 100)):
        yield mat_mul.product((2,), m, k, n, 0.0005, a_zero_point=-128, b_zero_point=5)
        turned = mat_mul.turned(mat_mul.dense(2, n, k))
        yield mat_mul.product((2,), m, k, n, 0.0005, a_zero_point=3, b_strides=turned)
    shares = replace(
        mat_mul.product((2,), 33, 48, 24, 2.0**-17), a_dtype="int16", a_zero_point=-(2**15), b_zero_point=7
    )
    yield replace(shares, largest=2**16 * 136)
    narrow = replace(mat_mul.product((2,), 9, 16, 35, 2.0**-17), b_dtype="int16", b_zero_point=-9000, a_zero_point=5)
    yield narrow
    yield replace(narrow, b_strides=mat_mul.turned(mat_mul.dense(2, 35, 16)))
    both = replace(narrow, a_dtype="int16", a_zero_point=-(2**15), largest=2**30)
    yield both
    yield replace(both, b_strides=mat_mul.turned(mat_mul.dense(2, 35, 16)))
