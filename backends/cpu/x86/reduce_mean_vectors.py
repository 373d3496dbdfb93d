"""ReduceMean of int8 for x86: 16 neighbours of the inner axis at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cpu.x86.packed import not_here
from bevel.backends.cpu.x86.same_loops import SameLoops
from bevel.backends.cpu.x86.vectors import lanes, one_rescaling, requantized, same
from bevel.backends.encodings.quads import BLOCK
from bevel.backends.program.kernel import Special, Unpacked
from bevel.backends.program.ops import reduce_mean
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.functions import prim_func
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.expressions import in_pieces, store
from bevel.backends.vectors.words import leaves_words
from bevel.calib.arithmetic.requantize import Output, fixed_point

FARTHEST = 255  # of an input from its zero point


@dataclass(frozen=True)
class ReduceMeanVectors(Unpacked, SameLoops):
    plain: ReduceMean
    rates: ClassVar[Rates] = Rates(input=3.5e-11, call=3e-8, code=700, unit=Resource.LATENCY)

    def build(self, name: str) -> Any:
        return prim_func(name, self.plain.operands(), self.loops)

    def loops(self, buffers: tuple[Any, ...]) -> None:
        (x, y), p = buffers, self.plain
        rescaling, every = one_rescaling(T.int64(p.multiplier), p.shift), T.ramp(0, 1, BLOCK)
        with statements.serial(p.outer) as outer:

            def piece(offset: Any, count: int) -> None:
                sums = statements.alloc_buffer((BLOCK,), "int32", scope="local")
                statements.buffer_store(sums, same(-p.reduced * p.x_zero_point), [every])
                with statements.serial(p.reduced) as row:
                    taken = lanes(x, (outer * p.reduced + row) * p.inner + offset, count)
                    statements.buffer_store(sums, sums[every] + taken, [every])
                store(y, outer * p.inner + offset, requantized(sums[every], rescaling, p.output), count)

            in_pieces(p.inner, piece, BLOCK)


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, ReduceMean):
        return "not a ReduceMean"
    if elsewhere := not_here(target):
        return elsewhere
    return why_not(plain) or Special(ReduceMeanVectors(plain), call.constants)


def why_not(plain: ReduceMean) -> str | None:
    """Why vectors do not compute it, if they do not."""
    if plain.x_dtype != "int8" or plain.sum_dtype != "int32":
        return f"inputs of {plain.x_dtype}, sums of {plain.sum_dtype}"
    reach = np.array([plain.reduced * FARTHEST], np.int64)
    return leaves_words(reach, np.array([plain.multiplier]), np.array([plain.shift]))


def cases() -> Iterable[ReduceMeanVectors]:
    """What the plain kernel has; then rows that leave all pieces, and several blocks."""
    yield from (ReduceMeanVectors(one) for one in reduce_mean.cases() if why_not(one) is None)
    yield ReduceMeanVectors(ReduceMean(2, 20, 31, 7, *fixed_point(1.3 / 20), Output(-4)))
    yield ReduceMeanVectors(ReduceMean(1, 125, 80, -128, *fixed_point(0.7 / 125), Output(-128, even=True)))
