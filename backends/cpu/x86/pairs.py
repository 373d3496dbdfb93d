"""Products of pairs of int16 on x86, added up in words.

    VPDPWSSD     word += x0 w0 + x1 w1, modulo 2**32        AVX512-VNNI, AVX-VNNI
    VPMADDWD     word = x0 w0 + x1 w1                       AVX2

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bevel.backends.cpu.levels import AVX512_VNNI, AVX_VNNI
from bevel.backends.cpu.x86.vectors import DotProducts
from bevel.backends.encodings.quads import BLOCK, PAIR, QUAD, WORD_BITS
from bevel.backends.tir.lazy import T
from bevel.backends.vectors.expressions import intrinsic


@dataclass(frozen=True)
class PairProducts:
    """How an instruction set adds up products of pairs, in vectors of so many words."""

    words: int
    fused: bool

    @property
    def vectors(self) -> int:
        """Of a block of 16 columns."""
        return BLOCK // self.words

    def products(self, x: Any, w: Any) -> Any:
        """Of AVX2: a word for each pair."""
        return intrinsic("llvm.x86.avx2.pmadd.wd", x, w, dtype=f"int32x{self.words}")

    def added(self, total: Any, x: Any, w: Any) -> Any:
        if not self.fused:
            return total + self.products(x, w)
        name = f"llvm.x86.avx512.vpdpwssd.{self.words * WORD_BITS}"
        return intrinsic(name, total, x, w, dtype=f"int32x{self.words}")

    def spread(self, buffer: Any, place: Any) -> Any:
        """A pair of int16 that meets all words of a vector."""
        both = T.reinterpret(buffer[T.ramp(place, 1, PAIR)], dtype="int32")
        return T.reinterpret(T.broadcast(both, self.words), dtype=f"int16x{self.words * PAIR}")

    def ones(self) -> Any:
        return T.broadcast(T.int16(1), self.words * PAIR)


@dataclass(frozen=True)
class PairsOfQuads(DotProducts):
    """Inputs of int16: a quad of them is two pairs, of weights that `quads.in_pairs` arranged."""

    pairs: PairProducts

    @property
    def blocks(self) -> int:
        return 27 if self.words == BLOCK else 6

    def weights(self, buffer: Any, place: Any) -> list[Any]:
        size = self.words * PAIR

        def both(which: int) -> tuple[Any, ...]:
            places = (place + number * BLOCK * PAIR + which * size for number in range(QUAD // PAIR))
            return tuple(T.cast(buffer[T.ramp(one, 1, size)], f"int16x{size}") for one in places)

        return [both(which) for which in range(self.vectors)]

    def pixel(self, buffer: Any, place: Any) -> list[Any]:
        both = tuple(self.pairs.spread(buffer, place + number * PAIR) for number in range(QUAD // PAIR))
        return [both] * self.vectors

    def added(self, total: Any, x: Any, w: Any) -> Any:
        for inputs, weights in zip(x, w, strict=True):
            total = self.pairs.added(total, inputs, weights)
        return total


OWN_PAIRS = PairProducts(8, fused=False)  # AVX2
PAIRS = {AVX512_VNNI.name: PairProducts(16, fused=True), AVX_VNNI.name: PairProducts(8, fused=True)}


def of_quads(pairs: PairProducts) -> PairsOfQuads:
    return PairsOfQuads(pairs.words, pairs)
