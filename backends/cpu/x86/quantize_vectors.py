"""Quantize for x86: divisions by one number as multiplications, each rounded as a division would be.

A quotient that is near enough is corrected by what it leaves, which a fused multiplication and addition computes
exactly:

    r = x - q * s;  q + r * y,  y = 1 / s rounded

is x / s rounded, where q is one of the two floats beside it (Markstein 1990, "Computation of Elementary Functions on
the IBM RISC System/6000 Processor"; Cornea, Harrison and Tang 2002, "Scientific Computing on Itanium-based Systems",
chapter 8). x * y may be two floats away; the first of two corrections makes it one of those. Inputs are clamped first,
so that nothing overflows; those that underflow are nearer to 0 than to any other result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cpu.x86.floats import BITS, MIDDLE
from bevel.backends.cpu.x86.packed import not_here
from bevel.backends.cpu.x86.same_loops import SameLoops
from bevel.backends.encodings.quads import BLOCK
from bevel.backends.program.kernel import Special, Unpacked
from bevel.backends.program.ops import quantize
from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.functions import prim_func
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.expressions import in_pieces, intrinsic, span, spread

SCALES = (2.0**-64, 2.0**64)  # within these nothing underflows or overflows that counts


@dataclass(frozen=True)
class QuantizeVectors(Unpacked, SameLoops):
    plain: Quantize
    rates: ClassVar[Rates] = Rates(input=7e-11, call=2e-8, code=500, unit=Resource.LATENCY)

    def build(self, name: str) -> Any:
        return prim_func(name, self.plain.operands(), self.loops)

    def loops(self, buffers: tuple[Any, ...]) -> None:
        (x, y), p = buffers, self.plain
        scale = np.float32(p.scale)
        low, high = (float(np.float32(end) * scale) for end in p.clamp)

        def piece(offset: Any, size: int) -> None:
            def same(number: float) -> Any:
                return spread(T.float32(number), size)

            def fused(a: Any, b: Any, c: Any) -> Any:
                return intrinsic("llvm.fma", a, b, c, dtype=f"float32x{size}" if size > 1 else "float32")

            def corrected(quotient: Any) -> Any:
                rest = fused(quotient, same(-float(scale)), taken)
                return fused(rest, same(inverse), quotient)

            inverse, where = float(np.float32(1) / scale), span(offset, size)
            given = x[where]
            above = T.Select(given > same(low), given, same(low))  # of a NaN the lower bound
            taken = T.Select(above < same(high), above, same(high))
            rounded = corrected(corrected(taken * same(inverse))) + same(float(MIDDLE))
            whole = T.reinterpret(rounded, dtype=f"int32x{size}" if size > 1 else "int32")
            moved = whole + spread(T.int32(p.zero_point - BITS), size)
            statements.buffer_store(y, T.cast(moved, f"{p.dtype}x{size}" if size > 1 else p.dtype), [where])

        in_pieces(p.size, piece, BLOCK)


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, Quantize):
        return "not a Quantize"
    if not SCALES[0] <= plain.scale <= SCALES[1]:
        return f"a scale of {plain.scale:.3g}"
    return not_here(target) or Special(QuantizeVectors(plain), call.constants)


def cases() -> Iterable[QuantizeVectors]:
    """What the plain kernel has of such scales; then more scales, over every float near a tie."""
    yield from (QuantizeVectors(one) for one in quantize.cases() if SCALES[0] <= one.scale <= SCALES[1])
    rng = np.random.default_rng(0)
    for scale in rng.uniform(0.001, 0.1, 8).astype(np.float32):
        yield QuantizeVectors(Quantize(2400, float(scale), zero_point=-3))
    yield QuantizeVectors(replace(next(iter(quantize.cases())), size=47))
