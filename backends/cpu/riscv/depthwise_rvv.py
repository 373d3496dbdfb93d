"""Depthwise Conv for RISC-V with vectors: each tap of a block of channels, as int16, by as many weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

from bevel.backends.cpu.riscv.packed import PackedRvv, lifts, refused
from bevel.backends.program.kernel import Special
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.depthwise_rows import DepthwiseRows, depthwise_of, plain_cases

PIXELS = 4  # at most


@dataclass(frozen=True)
class DepthwiseRvv(PackedRvv, DepthwiseRows):
    plain: Conv

    @property
    def pixels(self) -> int:
        """Sums take half of the registers, the columns that pixels share and weights the others."""
        return min(super().pixels * 2 // 3, PIXELS)

    # Estimates, beside those of the plain loops: by the instructions of both.
    rates: ClassVar[Rates] = Rates(mac=2e-11, output=9e-10, call=4e-8, code=2500, unit=Resource.LATENCY)

    def add_products(self, sums: Any, first: int, x: Any, w: Any) -> None:
        total = T.ramp(first, 1, self.lanes)
        one, other = (T.cast(factor, f"int32x{self.lanes}") for factor in (x, w))
        statements.buffer_store(sums, sums[total] + one * other, [total])


def specialize(call: Call, target: Target) -> Special | str:
    plain = depthwise_of(call.kernel)
    if isinstance(plain, str):
        return plain
    if why := refused(plain, call, target):
        return why
    kernel = DepthwiseRvv(plain, lifts(call.constants[3]))
    return Special(kernel, kernel.packed(*call.constants))


def cases() -> Iterable[DepthwiseRvv]:
    yield from map(DepthwiseRvv, plain_cases())
    yield from (DepthwiseRvv(plain, lifted=True) for plain in islice(plain_cases(), 4))
