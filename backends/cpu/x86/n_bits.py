"""Float products by weights of a few bits for x86 with AVX2, which comes with FMA: `bevel.backends.vectors.n_bits`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from bevel.backends.cpu.levels import AVX512_VNNI
from bevel.backends.cpu.x86.packed import not_here
from bevel.backends.program.kernel import LeveledKernel, Special, Unpacked
from bevel.backends.program.ops import mat_mul_n_bits
from bevel.backends.program.ops.mat_mul_n_bits import MatMulNBits
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.functions import prim_func
from bevel.backends.vectors.n_bits import NBitsTiles, loops, why_not

AVX2 = NBitsTiles(rows=4, chains=2)
AVX512 = NBitsTiles(rows=8, chains=4)


@dataclass(frozen=True)
class NBits(Unpacked, LeveledKernel):
    """The operands and results of `plain`."""

    rates: ClassVar[Rates] = Rates(mac=1.8e-11, besides=2.3e-11, call=5e-8, code=6000, unit=Resource.LATENCY)

    plain: MatMulNBits

    @property
    def levels(self) -> tuple[str, ...]:
        return (AVX512_VNNI.name,)

    def build(self, name: str) -> Any:
        return prim_func(name, self.operands(), partial(loops, self.plain, AVX2))

    def build_at(self, name: str, level: str) -> Any:
        return prim_func(name, self.operands(), partial(loops, self.plain, AVX512))


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, MatMulNBits):
        return "no float product by weights of a few bits"
    return not_here(target) or why_not(plain) or Special(NBits(plain), call.constants)


def cases() -> Iterable[NBits]:
    """What the plain loops have, as far as it goes; then tiles of rows and blocks, and what is left of them."""
    yield from (NBits(one) for one in mat_mul_n_bits.cases() if why_not(one) is None)
    for rows, n in ((1, 150), (2, 96), (3, 33), (13, 21)):
        yield NBits(MatMulNBits(rows, 100, n, 4, 32, None if n == 96 else 8, bias=n == 21))
    yield NBits(MatMulNBits(25, 70, 18, 3, 70, 4, bias=True))
    yield NBits(MatMulNBits(5, 45, 16, 4, 8, 8))
