"""Add of two tensors for RISC-V with vectors: `bevel.backends.vectors.add_rows`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from bevel.backends.cpu.riscv.rvv import not_here
from bevel.backends.program.kernel import Special, Unpacked
from bevel.backends.program.ops.add import Add
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.vectors import add_rows


@dataclass(frozen=True)
class AddRvv(Unpacked):
    plain: Add
    rates: ClassVar[Rates] = Rates(input=1e-10, call=2e-8, code=600, unit=Resource.LATENCY)  # estimates

    def build(self, name: str) -> Any:
        return add_rows.build(self.plain, name)


def specialize(call: Call, target: Target) -> Special | str:
    return add_rows.of_call(call, AddRvv, not_here(target))


def cases() -> Iterable[AddRvv]:
    yield from map(AddRvv, add_rows.plain_cases())
