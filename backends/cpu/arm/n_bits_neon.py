"""Float products by weights of a few bits for 64-bit Arm, whose vectors have FMLA: `bevel.backends.vectors.n_bits`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from bevel.backends.cpu.arm.neon import not_here
from bevel.backends.program.kernel import Special, Unpacked
from bevel.backends.program.ops import mat_mul_n_bits
from bevel.backends.program.ops.mat_mul_n_bits import MatMulNBits
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.functions import prim_func
from bevel.backends.vectors.n_bits import NBitsTiles, loops, why_not

NEON = NBitsTiles(rows=4, chains=2)  # 16 of 32 registers hold sums


@dataclass(frozen=True)
class NBitsNeon(Unpacked):
    """The operands and results of `plain`."""

    plain: MatMulNBits
    rates: ClassVar[Rates] = Rates(mac=1e-10, besides=1e-10, call=5e-8, code=6000, unit=Resource.LATENCY)  # estimates

    def build(self, name: str) -> Any:
        return prim_func(name, self.operands(), partial(loops, self.plain, NEON))


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, MatMulNBits):
        return "no float product by weights of a few bits"
    return not_here(target) or why_not(plain) or Special(NBitsNeon(plain), call.constants)


def cases() -> Iterable[NBitsNeon]:
    yield from (NBitsNeon(one) for one in mat_mul_n_bits.cases() if why_not(one) is None)
    yield NBitsNeon(MatMulNBits(1, 70, 53, 4, 32, 8))
    yield NBitsNeon(MatMulNBits(9, 45, 21, 4, 8, None, bias=True))
