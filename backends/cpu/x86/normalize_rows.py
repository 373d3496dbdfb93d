"""Normalization of rows for x86 whose elements are neighbours, sixteen at a time.

The root of a row, digit by digit in `bevel.calib.arithmetic.normalize`, is that of float64, put right by one: of an
integer below 2**60 it is off by less than 1, however the processor rounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bevel.backends.cpu.x86.packed import not_here
from bevel.backends.cpu.x86.same_loops import SameLoops
from bevel.backends.cpu.x86.vectors import first_lanes, lanes, reduced, same, upper_words
from bevel.backends.encodings.quads import BLOCK
from bevel.backends.program.kernel import Special, Unpacked
from bevel.backends.program.ops import normalize
from bevel.backends.program.ops.normalize import Loop, Normalize
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.functions import in_grid, prim_func
from bevel.backends.tir.lazy import T, statements, tirx
from bevel.backends.tir.loops import offset_of
from bevel.backends.vectors.expressions import in_pieces, store, stored
from bevel.calib.arithmetic.normalize import INVERSE_BITS, MOST_FRACTION, ROOT_BITS, WORD_BITS, fraction_bits
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class NormalizeRows(Unpacked, SameLoops):
    """The operands and results of `plain`."""

    rates: ClassVar[Rates] = Rates(input=6e-10, call=3e-8, code=1500, unit=Resource.LATENCY)

    plain: Normalize

    def build(self, name: str) -> Any:
        return prim_func(name, self.operands(), self.loops)

    def loops(self, buffers: tuple[Any, ...]) -> None:
        """TIR of all rows."""
        p, (column,) = self.plain, self.plain.columns
        numbers = statements.alloc_buffer((2,), "int64", scope="local")
        words = statements.alloc_buffer((3,), "int32", scope="local")

        def row(place: tuple[Any, ...]) -> None:
            first = offset_of(place, tuple(loop.stride for loop in p.rows)) if place else 0
            gain = offset_of(place, tuple(loop.gain for loop in p.rows)) if place else 0
            self.sums(buffers[0], first, numbers, words)
            self.inverse_root(numbers, words)
            self.normalized(buffers, (first, gain, column.gain), numbers, words)

        in_grid(tuple(loop.extent for loop in p.rows), row)

    def steps(self, x: Any, place: Any, count: int) -> Any:
        return lanes(x, place, count) - same(self.plain.zero_point)

    def sums(self, x: Any, first: Any, numbers: Any, words: Any) -> None:
        """TIR of what is under the root, in numbers[0], and of the sum of steps, in words[0]."""
        p, every = self.plain, T.ramp(0, 1, BLOCK)
        sums = statements.alloc_buffer((BLOCK,), "int32", scope="local")
        squares = statements.alloc_buffer((BLOCK,), "int64", scope="local")
        statements.buffer_store(sums, same(0), [every])
        statements.buffer_store(squares, T.broadcast(T.int64(0), BLOCK), [every])

        def piece(offset: Any, count: int) -> None:
            steps = first_lanes(self.steps(x, first + offset, count), count)
            wide = T.cast(steps, f"int64x{BLOCK}")
            statements.buffer_store(sums, sums[every] + steps, [every])
            statements.buffer_store(squares, squares[every] + wide * wide, [every])

        in_pieces(p.n, piece, BLOCK)
        statements.buffer_store(words, reduced("add", sums[every], "int32"), [0])
        total, square = T.cast(words[0], "int64"), reduced("add", squares[every], "int64")
        under = T.int64(p.n) * square - total * total if p.center else square
        statements.buffer_store(numbers, T.max(under + T.int64(p.epsilon), T.int64(1)), [0])

    def inverse_root(self, numbers: Any, words: Any) -> None:
        """TIR of the inverse of the root of numbers[0], in numbers[1], and how far steps are shifted to the left and to
        the right, in words[1] and words[2]."""
        one, raised = T.int64(1), fraction_bits(self.plain.n) - MOST_FRACTION
        zeros = T.cast(tirx.clz(numbers[0]), "int32")
        places = (zeros - (64 - 2 * ROOT_BITS)) >> 1
        statements.buffer_store(words, T.max(places + raised, 0), [1])
        statements.buffer_store(words, T.max(-(places + raised), 0), [2])
        statements.buffer_store(numbers, numbers[0] << T.cast(places * 2, "int64"), [0])
        statements.buffer_store(numbers, T.cast(T.sqrt(T.cast(numbers[0], "float64")), "int64"), [1])
        root = numbers[1]
        statements.buffer_store(numbers, root - T.cast(root * root > numbers[0], "int64"), [1])
        statements.buffer_store(numbers, root + T.cast((root + one) * (root + one) <= numbers[0], "int64"), [1])
        statements.buffer_store(numbers, T.truncdiv(T.int64(2**INVERSE_BITS), root), [1])

    def normalized(self, buffers: tuple[Any, ...], place: tuple[Any, Any, int], numbers: Any, words: Any) -> None:
        """TIR of a row of y, from (first element, first factor, factors an element) on."""
        (x, factor, offset, y), (first, gain, gains), p = buffers, place, self.plain
        left, right, total = (T.broadcast(words[which], BLOCK) for which in (1, 2, 0))
        inverse = T.broadcast(T.cast(numbers[1], "int32"), BLOCK)

        def of_channel(buffer: Any, at: Any, count: int) -> Any:
            return lanes(buffer, gain + at, count) if gains else T.broadcast(buffer[gain], BLOCK)

        def piece(at: Any, count: int) -> None:
            steps = self.steps(x, first + at, count)
            centred = steps * same(p.n) - total if p.center else steps
            t = upper_words((centred << left) >> right, inverse, 1 << (WORD_BITS - 1))
            upper = upper_words(t, of_channel(factor, at, count)) + of_channel(offset, at, count)
            store(y, first + at, stored(upper >> same(p.shift - WORD_BITS), p.output), count)

        in_pieces(p.n, piece, BLOCK)


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, Normalize):
        return "no normalization of rows"
    return not_here(target) or why_not(plain) or Special(NormalizeRows(plain), call.constants)


def why_not(plain: Normalize) -> str | None:
    """Why rows are not read as vectors, if they are not."""
    if len(plain.columns) != 1 or plain.columns[0].stride != 1:
        return "elements of a row that are no neighbours"
    if plain.columns[0].gain not in (0, 1):
        return "factors of a row that are no neighbours"
    return None


def cases() -> Iterable[NormalizeRows]:
    """What the plain kernel has of such rows; then longer ones, in whole vectors and pieces, of both types."""
    yield from (NormalizeRows(one) for one in normalize.cases() if why_not(one) is None)
    int16 = Output(-9, -(2**15), 2**15 - 1, "int16")
    for n in (16, 64, 79, 160):
        base = Normalize((Loop(5, n, 0),), (Loop(n, 1, 1),), n, True, -5, 900, 51, Output(4, -100, 90))
        yield NormalizeRows(base)
        yield NormalizeRows(replace(base, center=False, x_dtype="int16", output=int16))
        yield NormalizeRows(replace(base, x_dtype="int16", zero_point=300, epsilon=0, output=int16, shift=45))
