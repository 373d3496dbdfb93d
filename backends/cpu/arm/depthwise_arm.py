"""Depthwise Conv for 64-bit Arm: each tap of 16 channels of some pixels, in int16, is four SMLAL a pixel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from bevel.backends.cpu.arm.neon import HALF, multiplied
from bevel.backends.cpu.arm.packed import PackedArm, refused
from bevel.backends.program.kernel import Special
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.depthwise_rows import DepthwiseRows, depthwise_of, plain_cases


@dataclass(frozen=True)
class DepthwiseArm(DepthwiseRows, PackedArm):
    # Estimates: a SMLAL a cycle at 2.4 GHz.
    rates: ClassVar[Rates] = Rates(mac=1.2e-10, output=6e-10, call=4e-8, code=2500, unit=Resource.LATENCY)

    @property
    def pixels(self) -> int:
        """16 sums, two vectors of weights, two of each column of the image."""
        return 4

    def add_products(self, sums: Any, first: int, x: Any, w: Any) -> None:
        for part in range(2):
            total = T.ramp(first + part * HALF, 1, HALF)
            statements.buffer_store(sums, sums[total] + multiplied(x, w, part), [total])


def specialize(call: Call, target: Target) -> Special | str:
    plain = depthwise_of(call.kernel)
    if isinstance(plain, str):
        return plain
    kernel = DepthwiseArm(plain)
    return refused(plain, call, target) or Special(kernel, kernel.packed(*call.constants))


def cases() -> Iterable[DepthwiseArm]:
    yield from map(DepthwiseArm, plain_cases())
