"""Clip with four elements in the loop's body, on cores with the DSP extension."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bevel.backends.program.kernel import WIDER, Kernel, Special
from bevel.backends.program.op import Array, Op, Operand
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T

UNROLLED = 4


@dataclass(frozen=True)
class ClipDsp(Kernel):
    """The operands and results of `plain`, whose size is a multiple of four."""

    rates: ClassVar[Rates] = Rates(input=1.0, call=4, code=60)

    plain: Clip

    @property
    def op(self) -> Op:
        return self.plain

    def operands(self) -> tuple[Operand, ...]:
        return self.plain.operands()

    def reference(self, *arrays: Array) -> Array:
        return self.plain.reference(*arrays)

    def build(self, name: str) -> Any:
        size, low, high = self.plain.size, T.int8(self.plain.low), T.int8(self.plain.high)

        @T.prim_func(s_tir=True)
        def clip(X: T.Buffer((size,), "int8"), Y: T.Buffer((size,), "int8")):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for step in T.serial(size // UNROLLED):
                for u in T.unroll(UNROLLED):
                    Y[step * UNROLLED + u] = T.max(T.min(X[step * UNROLLED + u], high), low)

        return clip

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return self.plain.example(rng)


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    if not isinstance(plain, Clip):
        return "not a clip"
    if plain.dtype != "int8":
        return WIDER
    if plain.size % UNROLLED:
        return f"{plain.size} elements are no multiple of {UNROLLED}"
    return Special(ClipDsp(plain), call.constants)


def cases() -> Iterable[ClipDsp]:
    yield ClipDsp(Clip(64, -5, 100))
