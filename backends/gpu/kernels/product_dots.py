"""`MatMul` of two int8 activations by four products at a time, whatever their strides.

Zero points are taken off behind the sums, which are all dots, of ones too:

    sum (a - z) (b - t)  =  sum a b - z sum b - t sum a + k z t

A factor whose terms are neighbours, and begin with a word wherever it is read, is read in words, else byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bevel.backends.gpu.chip import chip_of
from bevel.backends.gpu.kernels.words import WORD, bytes4, dot4, tiles_of, word_of
from bevel.backends.gpu.requantize import requantize32
from bevel.backends.program.kernel import WIDER, Special, Unpacked
from bevel.backends.program.ops import mat_mul
from bevel.backends.program.ops.mat_mul import MatMul, Strides
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.program.shapes import register_tile
from bevel.backends.target import Target
from bevel.backends.tir import arithmetic
from bevel.backends.tir.functions import function
from bevel.backends.tir.lazy import T, statements
from bevel.backends.tir.loops import offset_of
from bevel.calib.arithmetic.requantize import UPPER_WORD

MOST_TERMS = 2**14  # whose four sums stay within int32 together


@dataclass(frozen=True)
class ProductDots(Unpacked):
    """`a_words`, `b_words`: which factor is read in words; `narrow`: whether sums are rescaled in words of 32 bits;
    `sums`: columns of a thread, 0: as many as any core keeps in registers."""

    rates: ClassVar[Rates] = Rates(mac=0.5, input=1.0, output=1.0, code=1500, unit=Resource.MACS)  # estimates

    plain: MatMul
    a_words: bool = False
    b_words: bool = False
    narrow: bool = False
    sums: int = 0

    @property
    def tile(self) -> int:
        return self.sums or register_tile(self.plain.n)

    def variants(self) -> Iterable[ProductDots]:
        return (replace(self, sums=tile) for tile in tiles_of(self.plain.n, self.tile))

    def build(self, name: str) -> Any:
        p = self.plain
        a, b, y = (operand.size for operand in p.operands())
        given = [given_as("A", a, self.a_words), given_as("B", b, self.b_words), ("Y", (y,), p.output.dtype)]
        return function(name, given, self.loops)

    def loops(self, buffers: tuple[Any, ...]) -> None:
        """TIR of all outputs; a thread computes a few columns of a row."""
        a, b, y = buffers
        p, tile = self.plain, self.tile
        with statements.grid(*(p.batch or (1,)), p.m, p.n // tile) as (*batch, row, block):
            sums, of_b, of_a, left = (
                statements.alloc_buffer((size,), "int32", scope="local") for size in (tile, tile, 1, 1)
            )
            columns = [block * tile + u for u in range(tile)]
            for u in range(tile):
                statements.buffer_store(sums, T.int32(p.k * p.a_zero_point * p.b_zero_point), [u])
                statements.buffer_store(of_b, T.int32(0), [u])
            statements.buffer_store(of_a, T.int32(0), [0])

            def add(first: Any, count: int) -> None:
                """TIR of the products of up to four terms."""
                at = offset(p.a_strides, batch, row, first)
                statements.buffer_store(left, word_at(a, at, p.a_strides[-1], self.a_words, count), [0])
                if p.b_zero_point:
                    statements.buffer_store(of_a, dot4(left[0], word_of(1), of_a[0]), [0])
                for u, column in enumerate(columns):
                    at = offset(p.b_strides, batch, first, column)
                    right = word_at(b, at, p.b_strides[-2], self.b_words, count)
                    statements.buffer_store(sums, dot4(left[0], right, sums[u]), [u])
                    if p.a_zero_point:
                        statements.buffer_store(of_b, dot4(right, word_of(1), of_b[u]), [u])

            whole, rest = divmod(p.k, WORD)
            if whole:
                with statements.serial(whole) as step:
                    add(step * WORD, WORD)
            if rest:
                add(whole * WORD, rest)
            for u, column in enumerate(columns):
                total = sums[u] - of_b[u] * T.int32(p.a_zero_point) - of_a[0] * T.int32(p.b_zero_point)
                statements.buffer_store(y, self.rescaled(total), [offset(p.y_strides, batch, row, column)])

    def rescaled(self, total: Any) -> Any:
        p = self.plain
        if self.narrow:
            return requantize32(total, T.int32(p.multiplier), T.int32(p.shift), p.output)
        return arithmetic.requantize(total, p.multiplier, p.shift, p.output)


def given_as(name: str, size: int, words: bool) -> tuple[str, tuple[int], str]:
    return (name, (size // WORD,), "int32") if words else (name, (size,), "int8")


def offset(strides: Strides, batch: Iterable[Any], row: Any, column: Any) -> Any:
    """Of an element; `batch` has an axis more where there is none."""
    *lead, down, right = strides
    start = offset_of(list(batch), tuple(lead)) if lead else 0
    return start + row * down + column * right


def word_at(buffer: Any, at: Any, step: int, words: bool, count: int) -> Any:
    """TIR of `count` bytes, `step` apart, and 0."""
    if words:
        return buffer[T.floordiv(at, WORD)]
    some = [T.cast(buffer[at + lane * step], "int32") for lane in range(count)]
    return bytes4([*some, *[T.int32(0)] * (WORD - count)])


def in_whole_words(k: int, start: int, step: int, others: Iterable[int]) -> bool:
    return step == 1 and all(one % WORD == 0 for one in (k, start, *others))


def kernel_of(plain: MatMul, starts: tuple[int, ...], narrow: bool) -> ProductDots:
    a, b = plain.a_strides, plain.b_strides
    a_words = in_whole_words(plain.k, starts[0], a[-1], a[:-1])
    b_words = in_whole_words(plain.k, starts[1], b[-2], (*b[:-2], b[-1]))
    known = plain.shift >= UPPER_WORD or (plain.shift >= 1 and plain.multiplier >= 2**30)
    return ProductDots(plain, a_words, b_words, narrow and known)


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: two factors of int8."""
    plain = call.kernel
    if not isinstance(plain, MatMul):
        return "no product of two activations"
    if {plain.a_dtype, plain.b_dtype} != {"int8"} or plain.sum_dtype != "int32":
        return WIDER
    if plain.counted:
        return f"it counts its {plain.counted}"
    if plain.k > MOST_TERMS:
        return f"sums of {plain.k} products"
    return Special(kernel_of(plain, call.input_starts, chip_of(target).narrow), call.constants)


def cases() -> Iterable[ProductDots]:
    """Of the operator's; rows and columns in words; both ways to rescale."""
    queries, keys = mat_mul.heads(9, 3, 8), mat_mul.turned(mat_mul.heads(9, 3, 8))
    first = mat_mul.product((3,), 9, 8, 9, 0.002, a_strides=queries, b_strides=keys, a_zero_point=5, b_zero_point=-3)
    known = [one for one in mat_mul.cases() if {one.a_dtype, one.b_dtype} == {"int8"} and not one.counted]
    yield from kernel_of(first, (0, 0), False).variants()
    for plain in (*known, replace(first, a_zero_point=0), replace(first, b_zero_point=0), first):
        yield from (kernel_of(plain, (0, 0), narrow) for narrow in (False, True))
