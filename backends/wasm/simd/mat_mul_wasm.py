"""MatMul of two activations for WebAssembly: `bevel.backends.vectors.mat_mul_pairs`, four columns a vector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.encodings.quads import BLOCK, PAIR
from bevel.backends.program.kernel import Special
from bevel.backends.program.ops import mat_mul
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.backends.vectors import mat_mul_pairs
from bevel.backends.vectors.mat_mul_pairs import MatMulOfPairs, PairSums, Shape, why_not
from bevel.backends.wasm.simd import rescaling
from bevel.backends.wasm.simd.lanes import WORDS, dot, not_here, pair_everywhere, store_words
from bevel.backends.wasm.simd.rescaling import requantized

ROWS = 2  # of a tile of 16 columns: eight sums, and what they are made of, in registers


class DotPairs:
    """Pairs by `lanes.dot`."""

    words = WORDS
    vectors = BLOCK // WORDS

    def added(self, total: Any, x: Any, w: Any) -> Any:
        return dot(total, x, w)

    def spread(self, buffer: Any, place: Any) -> Any:
        return pair_everywhere(buffer, place)

    def ones(self) -> Any:
        return T.broadcast(T.int16(1), self.words * PAIR)


@dataclass(frozen=True)
class MatMulWasm(MatMulOfPairs):
    rates: ClassVar[Rates] = Rates(mac=1.1, output=16, call=500, code=3000)

    def build(self, name: str) -> Any:
        return self.function(name, DotPairs())

    def tile_size(self, isa: PairSums) -> Shape:
        return min(ROWS, self.plain.m), 1

    def store(self, y: Any, place: Any, sums: Sequence[Any], count: int) -> None:
        scale = T.broadcast(T.float64(float(np.ldexp(float(self.plain.multiplier), -self.plain.shift))), WORDS)
        store_words(y, place, [requantized(one, scale, self.plain.output) for one in sums], count, self.plain.output)


def refused(plain: MatMul) -> str | None:
    """Why no such kernel can stand for it on any machine, if none can."""
    by = np.array([plain.multiplier], np.int32), np.array([plain.shift], np.int8)
    return why_not(plain) or rescaling.refused(np.array([plain.reach]), *by, plain.output)


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, MatMul):
        return "not a MatMul"
    return not_here(target) or refused(plain) or Special(MatMulWasm(plain), call.constants)


def cases() -> Iterable[MatMulWasm]:
    """What pairs compute anywhere, as far as no product lies on a half; then factors of int16."""
    yield from (MatMulWasm(one) for one in mat_mul_pairs.plain_cases() if refused(one) is None)
    shares = mat_mul.product((2,), 33, 48, 24, 1.3 * 2.0**-17, a_zero_point=-(2**15), b_zero_point=7, a_dtype="int16")
    yield MatMulWasm(replace(shares, largest=2**16 * 136))
    narrow = mat_mul.product((2,), 9, 16, 35, 1.3 * 2.0**-17, b_zero_point=-9000, a_zero_point=5, b_dtype="int16")
    yield MatMulWasm(replace(narrow, b_strides=mat_mul.turned(mat_mul.dense(2, 35, 16))))
    yield MatMulWasm(replace(narrow, a_dtype="int16", a_zero_point=-(2**15), largest=2**30))
