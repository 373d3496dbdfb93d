"""Add of two tensors for x86: `bevel.backends.vectors.add_rows`, and of neighbouring int8 by products of pairs.

A multiplier m of 27 bits and a sign is m1 * 2**12 + m0, both of 16 bits, so that VPMADDWD multiplies and adds:

    a * ma + b * mb  ==  (a * ma1 + b * mb1) * 2**12 + (a * ma0 + b * mb0)        modulo 2**32
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, ClassVar

from bevel.backends.cpu.levels import AVX512_VNNI
from bevel.backends.cpu.x86 import floats
from bevel.backends.cpu.x86.pairs import OWN_PAIRS
from bevel.backends.encodings.quads import BLOCK, PAIR, QUAD
from bevel.backends.program.kernel import LeveledKernel, Special, Unpacked
from bevel.backends.program.ops.add import Add
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.backends.vectors import add_rows
from bevel.backends.vectors.expressions import intrinsic, shuffled
from bevel.calib.arithmetic.requantize import Output

SPLIT = 12  # bits of m0
EIGHT = 8  # int16 of 128 bits
WORD_LIMIT = 2**31


@dataclass(frozen=True)
class AddVectors(Unpacked, LeveledKernel):
    plain: Add
    rates: ClassVar[Rates] = Rates(input=3.9e-11, call=2.1e-8, code=400, unit=Resource.LATENCY)

    @property
    def levels(self) -> tuple[str, ...]:
        return (AVX512_VNNI.name,)

    def build(self, name: str) -> Any:
        return self.of_words(name, OWN_PAIRS.words)

    def build_at(self, name: str, level: str) -> Any:
        return self.of_words(name, BLOCK)

    @property
    def in_pairs(self) -> bool:
        """Whether pairs of int16 hold inputs and multipliers, and words the results with their zero point."""
        p = self.plain
        moved = p.reach + (abs(p.output.zero_point) << p.shift)
        of_bytes = p.a_dtype == p.b_dtype == p.output.dtype == "int8" and moved < WORD_LIMIT
        return of_bytes and max(abs(p.a_multiplier), abs(p.b_multiplier)) < 1 << (SPLIT + 15)

    def of_words(self, name: str, words: int) -> Any:
        """In vectors of so many."""
        whole = (words * QUAD, partial(self.sums, words)) if self.in_pairs else None
        return add_rows.build(self.plain, name, whole=whole)

    def sums(self, words: int, a: Any, b: Any) -> Any:
        """int8 of as many inputs as four vectors of words have."""
        size, lanes = words * PAIR, words // 4
        halves = []
        for first in (0, size):
            wide = [T.cast(shuffled([one], range(first, first + size)), f"int16x{size}") for one in (a, b)]
            pairs = (
                shuffled(wide, [lane * EIGHT + place + part + of for lane in range(lanes)
                                for place, of in product(range(EIGHT // 2), (0, size))])
                for part in (0, EIGHT // 2)
            )  # fmt: skip
            first_half, second_half = (self.rescaled(words, one) for one in pairs)
            halves.append(floats.saturated(first_half, second_half, words))
        packed = T.reinterpret(floats.saturated(halves[0], halves[1], words), dtype=f"int64x{words // PAIR}")
        ordered = shuffled([packed], [lane * PAIR + half for half in range(PAIR) for lane in range(lanes)])
        return floats.clamped(T.reinterpret(ordered, dtype=f"int8x{size * PAIR}"), self.plain.output, size * PAIR)

    def rescaled(self, words: int, pairs: Any) -> Any:
        """Words of results before the clamp, of pairs of int16."""
        p = self.plain

        def same(number: int) -> Any:
            return T.broadcast(T.int32(number), words)

        def by(a: int, b: int) -> Any:
            both = (b << 16 | a & 0xFFFF) + 2**31
            factors = T.reinterpret(same(both % 2**32 - 2**31), dtype=f"int16x{words * PAIR}")
            name = "llvm.x86.avx512.pmaddw.d.512" if words == BLOCK else "llvm.x86.avx2.pmadd.wd"
            return intrinsic(name, pairs, factors, dtype=f"int32x{words}")

        lower = 2**SPLIT - 1
        upper = by(p.a_multiplier >> SPLIT, p.b_multiplier >> SPLIT) << same(SPLIT)
        total = upper + by(p.a_multiplier & lower, p.b_multiplier & lower)
        return (total + same(p.offset + (p.output.zero_point << p.shift))) >> same(p.shift)


def specialize(call: Call, target: Target) -> Special | str:
    elsewhere = None if target.architecture == "x86_64" else f"{target.name} is no x86-64"
    return add_rows.of_call(call, AddVectors, elsewhere)


def cases() -> Iterable[AddVectors]:
    """What the plain kernel has; then rows that leave all pieces, multipliers of both signs, and a clamp."""
    yield from map(AddVectors, add_rows.plain_cases())
    shape = (3, 64 + 47)
    offset = 2**19 - 7 * 1_913_264
    yield AddVectors(Add(shape, shape, shape, 1_913_264, -581_080, offset, 20, Output(-128, -128, 99)))
    yield AddVectors(Add(shape, shape, (1, 111), -700_001, (1 << 23) - 1, 5, 21, Output(3)))
