"""MatMul of two activations for x86: `bevel.backends.vectors.mat_mul_pairs`, columns gathered where they are rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bevel.backends.cpu.x86.packed import not_here
from bevel.backends.cpu.x86.pairs import OWN_PAIRS, PAIRS
from bevel.backends.cpu.x86.register_tile import best_tile
from bevel.backends.cpu.x86.vectors import gathered, joined, one_rescaling, requantized, same
from bevel.backends.encodings.quads import BLOCK, PAIR, QUAD
from bevel.backends.program.kernel import LeveledKernel, Special
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors import mat_mul_pairs
from bevel.backends.vectors.expressions import spread, store
from bevel.backends.vectors.mat_mul_pairs import MatMulOfPairs, PairSums, Shape, why_not

ACCUMULATORS = 12  # vectors of 8 words


@dataclass(frozen=True)
class MatMulPairs(MatMulOfPairs, LeveledKernel):
    """The operands and results of `plain`; both factors as int16 in scratch."""

    rates: ClassVar[Rates] = Rates(mac=1.1e-11, output=1e-10, call=2.5e-7, code=3000, unit=Resource.LATENCY)

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple(PAIRS)

    def build(self, name: str) -> Any:
        return self.function(name, OWN_PAIRS)

    def build_at(self, name: str, level: str) -> Any:
        return self.function(name, PAIRS[level])

    @property
    def of_word(self) -> int:
        """Elements of b in a word."""
        return QUAD if self.plain.b_dtype == "int8" else PAIR

    def copy_turned(self, isa: PairSums, columns: Any, b: Any, first: Any) -> bool:
        """Words of 16 columns at once, the last one in place of those that do not exist."""
        p, pitch, right = self.plain, self.blocks * BLOCK * PAIR, self.plain.b_strides[-1]
        if p.b_strides[-2] != 1 or p.k % self.of_word:
            return False
        size = QUAD // self.of_word
        with statements.grid(self.blocks, p.k // self.of_word) as (block, word):
            column = T.min(T.ramp(block * BLOCK, 1, BLOCK), same(p.n - 1))
            place = column * same(right) + T.broadcast(first + word * self.of_word, BLOCK)
            found = gathered(b, place, isa.words, size)
            for number, pairs in enumerate([found] if size == PAIR else pairs_of_bytes(found)):
                taken = T.reinterpret(pairs, dtype=f"int16x{BLOCK * PAIR}")
                if self.taken_off:
                    taken = taken - spread(T.int16(self.taken_off), BLOCK * PAIR)
                at = (word * (self.of_word // PAIR) + number) * pitch + block * BLOCK * PAIR
                statements.buffer_store(columns, taken, [T.ramp(at, 1, BLOCK * PAIR)])
        return True

    def tile_size(self, isa: PairSums) -> Shape:
        found = best_tile(self.plain.m, self.blocks, blocks_of(self.plain.k, PAIR))
        if isa.words == BLOCK:
            return found
        blocks, most = min(found.blocks, 2), ACCUMULATORS * OWN_PAIRS.words // BLOCK
        return min(found.pixels, most // blocks), blocks

    def store(self, y: Any, place: Any, sums: Sequence[Any], count: int) -> None:
        p = self.plain
        store(y, place, requantized(joined(sums), one_rescaling(T.int64(p.multiplier), p.shift), p.output), count)


def pairs_of_bytes(words: Any) -> list[Any]:
    """Four int8 in each word, as two words of two int16."""
    lower = same(2**16 - 1)

    def pair(first: int, second: int) -> Any:
        low, high = ((words << same(24 - place * 8)) >> same(24) for place in (first, second))
        return (low & lower) | (high << same(16))

    return [pair(0, 1), pair(2, 3)]


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, MatMul):
        return "not a MatMul"
    return not_here(target) or why_not(plain) or Special(MatMulPairs(plain), call.constants)


def cases() -> Iterable[MatMulPairs]:
    yield from map(MatMulPairs, mat_mul_pairs.plain_cases())
