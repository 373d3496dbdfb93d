"""Vectors of x86 as TIR expressions: sums of products of four bytes each, requantization.

Products are of uint8 inputs by int8 weights. A block is 16 outputs of int32; instruction sets hold its sums in vectors
of their own, and hand them over as one int32x16, which LLVM splits where registers are shorter.

    VPDPBUSD     word += x0 w0 + x1 w1 + x2 w2 + x3 w3, no saturation          AVX512-VNNI, AVX-VNNI
    VPMADDWD     word = x0 w0 + x1 w1, of int16                                AVX2: two words for each output

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bevel.backends.cpu.levels import AVX512_VNNI, AVX_VNNI
from bevel.backends.encodings.quads import BLOCK, LANES, QUAD, WORD_BITS
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.vectors.expressions import intrinsic, shuffled, span, stored
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class DotProducts(ABC):
    """How an instruction set multiplies inputs by int8 weights. words: in one of its vectors."""

    words: int

    @property
    def vectors(self) -> int:
        """That hold the sums of a block."""
        return BLOCK // self.words

    @property
    @abstractmethod
    def blocks(self) -> int:
        """Whose sums fit in registers, beside what they are made of."""

    @abstractmethod
    def weights(self, buffer: Any, place: Any) -> list[Any]:
        """The weights of a block for one quad, one expression for each of `vectors`."""

    @abstractmethod
    def pixel(self, buffer: Any, place: Any) -> list[Any]:
        """A quad that meets all 16 outputs."""

    @abstractmethod
    def added(self, total: Any, x: Any, w: Any) -> Any:
        """`total`, a vector of sums, with the products of one of `pixel` and one of `weights`."""

    @property
    def in_order(self) -> bool:
        """Whether the sums of a block are its outputs, one after the other, and may start from the bias."""
        return True

    @property
    def halves_blocks(self) -> bool:
        """Whether a vector takes two quads at once, of 8 outputs: `two_quads`, `interleaved`."""
        return False

    def block(self, totals: Sequence[Any]) -> Any:
        """`vectors` of sums as int32x16."""
        return joined(totals)

    def total(self, index: Any) -> Any:
        """Where the vector of sums number `index` lies in a buffer of words."""
        return T.ramp(index * self.words, 1, self.words)


class ByteProducts(DotProducts):
    """Inputs are uint8."""

    @abstractmethod
    def elements(self, buffer: Any, place: Any) -> list[Any]:
        """16 quads, one for each output: they may stand for a `pixel`."""


class Vnni(ByteProducts):
    """VPDPBUSD of 512 or 256 bits."""

    @property
    def blocks(self) -> int:
        return 28 if self.words == BLOCK else 6

    @property
    def type(self) -> str:
        return f"int8x{self.words * QUAD}"

    def weights(self, buffer: Any, place: Any) -> list[Any]:
        size = self.words * QUAD
        return [buffer[T.ramp(place + which * size, 1, size)] for which in range(self.vectors)]

    def pixel(self, buffer: Any, place: Any) -> list[Any]:
        quad = T.reinterpret(buffer[T.ramp(place, 1, QUAD)], dtype="int32")
        return [T.reinterpret(T.broadcast(quad, self.words), dtype=self.type)] * self.vectors

    def elements(self, buffer: Any, place: Any) -> list[Any]:
        return [T.reinterpret(one, dtype=self.type) for one in self.weights(buffer, place)]

    @property
    def halves_blocks(self) -> bool:
        return self.words == BLOCK

    def two_quads(self, buffer: Any, place: Any) -> Any:
        """Two neighbouring quads, one after the other, that meet 8 outputs."""
        both = T.reinterpret(buffer[T.ramp(place, 1, 2 * QUAD)], dtype="int64")
        return T.reinterpret(T.broadcast(both, self.words // 2), dtype=self.type)

    def added(self, total: Any, x: Any, w: Any) -> Any:
        name = f"llvm.x86.avx512.vpdpbusd.{self.words * WORD_BITS}"
        return intrinsic(name, total, x, w, dtype=f"int32x{self.words}")


class MultiplyAdd(ByteProducts):
    """VPMADDWD of 256 bits: four outputs a vector, each as two sums."""

    PAIRS = 2  # of bytes in a quad

    @property
    def in_order(self) -> bool:
        return False

    @property
    def vectors(self) -> int:
        return BLOCK * self.PAIRS // self.words

    @property
    def blocks(self) -> int:
        return 2

    def weights(self, buffer: Any, place: Any) -> list[Any]:
        size = self.words * self.PAIRS
        loaded = (buffer[T.ramp(place + which * size, 1, size)] for which in range(self.vectors))
        return [T.cast(one, f"int16x{size}") for one in loaded]

    def pixel(self, buffer: Any, place: Any) -> list[Any]:
        quad = T.reinterpret(T.cast(buffer[T.ramp(place, 1, QUAD)], f"int16x{QUAD}"), dtype="int64")
        size = self.words * self.PAIRS
        return [T.reinterpret(T.broadcast(quad, size // QUAD), dtype=f"int16x{size}")] * self.vectors

    def elements(self, buffer: Any, place: Any) -> list[Any]:
        return self.weights(buffer, place)

    def added(self, total: Any, x: Any, w: Any) -> Any:
        return total + intrinsic("llvm.x86.avx2.pmadd.wd", x, w, dtype=f"int32x{self.words}")

    def block(self, totals: Sequence[Any]) -> Any:
        first, second = (shuffled(totals, range(half, BLOCK * self.PAIRS, self.PAIRS)) for half in range(self.PAIRS))
        return first + second


def interleaved(first: Any, second: Any) -> Any:
    """int32x16: word by word of the first eight of each of two."""
    return shuffled([first, second], [word + of for word in range(BLOCK // 2) for of in (0, BLOCK)])


def pairs_added(words: Any) -> Any:
    """int32x16: the sums of two neighbouring words, twice over."""
    even, odd = (shuffled([words], list(range(first, BLOCK, 2)) * 2) for first in range(2))
    return even + odd


AVX2 = MultiplyAdd(8)
PRODUCTS: dict[str, ByteProducts] = {AVX512_VNNI.name: Vnni(16), AVX_VNNI.name: Vnni(8)}


def requantized(sums: Any, constants: Callable[[int], Any], output: Output, folded: bool = False) -> Any:
    """`bevel.calib.arithmetic.requantize.requantize` of int32x16, by six vectors of eight int64: multiplier,
    2**(shift - 1) and shift of even lanes, then of odd ones.

    Results before the clamp are within int32. Even and odd lanes are multiplied apart, as VPMULDQ does. folded: what
    `bevel.backends.encodings.quads` says.
    """
    word = T.broadcast(T.int64(WORD_BITS), BLOCK // 2)

    def rounded(lanes: Any, first: int) -> Any:
        multiplier, half, shift = (constants(first + row) for row in range(3))
        product = lanes * ((multiplier << word) >> word)
        if not output.even:
            return (product + half) >> shift
        one = T.broadcast(T.int64(1), BLOCK // 2)
        return (product + (half - one) + ((product >> shift) & one)) >> shift

    wide = T.reinterpret(sums, dtype="int64x8")
    even, odd = rounded((wide << word) >> word, 0), rounded(wide >> word, 3)
    if folded:
        output = replace(output, zero_point=0)
    else:
        odd = odd << word
    return stored(even_lower_odd_upper(even, odd), output)


def rescaling_at(rescaling: Any, block: Any) -> Callable[[int], Any]:
    """The vectors that `quads.pack_rescaling` stored for a block."""
    return lambda row: rescaling[T.ramp(block * LANES + row * 8, 1, 8)]


def one_rescaling(multiplier: Any, shift: int) -> Callable[[int], Any]:
    """Those vectors where one multiplier, a TIR int64, and one shift are for all outputs."""
    numbers = (multiplier, T.int64(1 << (shift - 1)), T.int64(shift))
    return lambda row: T.broadcast(numbers[row % len(numbers)], BLOCK // 2)


def same(number: int) -> Any:
    """int32x16 of one number."""
    return T.broadcast(T.int32(number), BLOCK)


def upper_words(a: Any, b: Any, half: int = 0) -> Any:
    """(a * b + half) >> 32 of int32x16, each in 64 bits: even and odd lanes apart, as VPMULDQ multiplies them."""
    word, added = (T.broadcast(T.int64(number), BLOCK // 2) for number in (WORD_BITS, half))
    wide_a, wide_b = (T.reinterpret(one, dtype="int64x8") for one in (a, b))
    even = (((wide_a << word) >> word) * ((wide_b << word) >> word) + added) >> word
    odd = (wide_a >> word) * (wide_b >> word) + added
    return even_lower_odd_upper(even, odd)


def even_lower_odd_upper(even: Any, odd: Any) -> Any:
    """int32x16 of the lower words of one int64x8 and the upper words of another."""
    both = [T.reinterpret(one, dtype="int32x16") for one in (even, odd)]
    return shuffled(both, [lane + BLOCK * (lane % 2) for lane in range(BLOCK)])


def lanes(buffer: Any, place: Any, count: int) -> Any:
    """int32x16 of 16 neighbouring integers; of fewer, a power of two, the same ones again and again."""
    taken = buffer[span(place, count)]
    repeated = T.broadcast(taken, BLOCK) if count == 1 else taken
    if 1 < count < BLOCK:
        repeated = shuffled([taken] * (BLOCK // count), range(BLOCK))
    return T.cast(repeated, f"int32x{BLOCK}")


def first_lanes(values: Any, count: int) -> Any:
    """int32x16 with zeros behind the first `count`."""
    if count == BLOCK:
        return values
    return T.Select(T.ramp(0, 1, BLOCK) < T.broadcast(count, BLOCK), values, same(0))


def reduced(how: str, values: Any, dtype: str) -> Any:
    """One number of a vector: LLVM's reduction `how`, "add" or "smax"."""
    return intrinsic(f"llvm.vector.reduce.{how}", values, dtype=dtype)


def joined(vectors: Sequence[Any]) -> Any:
    """int32x16 of vectors that hold it one after the other."""
    return vectors[0] if len(vectors) == 1 else shuffled(vectors, range(BLOCK))


def halves(vector: Any, words: int) -> list[Any]:
    """int32x16 as vectors of so many words."""
    return [shuffled([vector], range(first, first + words)) for first in range(0, BLOCK, words)]


def gathered(buffer: Any, index: Any, words: int, size: int) -> Any:
    """int32x16: the word at each of 16 places in `buffer`, counted in `size` bytes; `words`: of a vector of the set."""
    place = tirx.address_of(buffer[0])
    zeros = T.broadcast(T.int32(0), words)
    if words == BLOCK:
        every = T.broadcast(tirx.const(True, "bool"), BLOCK)
        return loaded("llvm.x86.avx512.mask.gather.dpi.512", zeros, place, index, every, T.int32(size), words=words)
    every = T.broadcast(T.int32(-1), words)
    name = "llvm.x86.avx2.gather.d.d.256"
    found = [loaded(name, zeros, place, one, every, T.int8(size), words=words) for one in halves(index, words)]
    return shuffled(found, range(BLOCK))


def pair_sums(a: Any, b: Any, words: int) -> Any:
    """int32x16: a0 b0 + a1 b1 of the two int16 in each word."""

    def of_vectors(x: Any, y: Any, name: str) -> Any:
        pairs = (T.reinterpret(one, dtype=f"int16x{words * 2}") for one in (x, y))
        return intrinsic(name, *pairs, dtype=f"int32x{words}")

    if words == BLOCK:
        return of_vectors(a, b, "llvm.x86.avx512.pmaddw.d.512")
    both = zip(halves(a, words), halves(b, words), strict=True)
    return shuffled([of_vectors(*pair, "llvm.x86.avx2.pmadd.wd") for pair in both], range(BLOCK))


def loaded(name: str, *arguments: Any, words: int) -> Any:
    """A call of LLVM's that reads memory."""
    return T.call_llvm_intrin(T.llvm_lookup_intrinsic_id(name), *arguments, dtype=f"int32x{words}")
