"""MatMul of two activations for RISC-V with vectors: `bevel.backends.vectors.mat_mul_pairs`, 16 columns a vector.

The halfwords of a vector of pairs are taken apart by narrowing shifts (VNSRL), one for each row of b.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cpu.riscv.packed import too_wide
from bevel.backends.cpu.riscv.rvv import each, not_here, requantized
from bevel.backends.encodings.quads import BLOCK, PAIR
from bevel.backends.program.kernel import Special
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.backends.vectors import mat_mul_pairs
from bevel.backends.vectors.expressions import shuffled, store
from bevel.backends.vectors.mat_mul_pairs import MatMulOfPairs, PairSums, Shape, why_not
from bevel.calib.arithmetic.requantize import UPPER_WORD

ROWS = 5  # of a tile of 16 columns: 20 registers of sums, four of pairs, two for each half of them


class Halves:
    """Pairs in words; those of a row are both by themselves, in each lane."""

    words = BLOCK
    vectors = 1

    def added(self, total: Any, x: Any, w: Any) -> Any:
        for place, factor in enumerate(x):
            half = shuffled([w], range(place, BLOCK * PAIR, PAIR))
            total = total + T.cast(half, f"int32x{BLOCK}") * factor
        return total

    def spread(self, buffer: Any, place: Any) -> Any:
        return [T.broadcast(T.cast(buffer[place + number], "int32"), BLOCK) for number in range(PAIR)]

    def ones(self) -> Any:
        return [each(1, BLOCK)] * PAIR


@dataclass(frozen=True)
class MatMulRvv(MatMulOfPairs):
    # Estimates, beside those of the plain loops: by the instructions of both.
    rates: ClassVar[Rates] = Rates(mac=1.6e-11, output=2e-10, call=1e-7, code=3000, unit=Resource.LATENCY)

    def build(self, name: str) -> Any:
        return self.function(name, Halves())

    def tile_size(self, isa: PairSums) -> Shape:
        return min(ROWS, self.plain.m), 1

    def store(self, y: Any, place: Any, sums: Sequence[Any], count: int) -> None:
        p, beyond = self.plain, self.plain.shift - UPPER_WORD
        left = each(-beyond, BLOCK) if beyond < 0 else None
        by = each(p.multiplier, BLOCK), each(max(beyond, 0), BLOCK)
        store(y, place, requantized(sums[0], *by, left, p.output, BLOCK), count)


def refused(plain: MatMul) -> str | None:
    """Why no such kernel can stand for it on any machine, if none can."""
    return why_not(plain) or too_wide(np.array([plain.reach]), np.array([plain.shift]))


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, MatMul):
        return "not a MatMul"
    return not_here(target) or refused(plain) or Special(MatMulRvv(plain), call.constants)


def cases() -> Iterable[MatMulRvv]:
    yield from (MatMulRvv(one) for one in mat_mul_pairs.plain_cases() if refused(one) is None)
