"""Add of two tensors for x86: `bevel.backends.vectors.add_rows`, in longer vectors where there is AVX-512."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from bevel.backends.cpu.x86.same_loops import SameLoops
from bevel.backends.program.kernel import Special, Unpacked
from bevel.backends.program.ops.add import Add
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.vectors import add_rows


@dataclass(frozen=True)
class AddVectors(Unpacked, SameLoops):
    plain: Add
    rates: ClassVar[Rates] = Rates(input=3.9e-11, call=2.1e-8, code=400, unit=Resource.LATENCY)

    def build(self, name: str) -> Any:
        return add_rows.build(self.plain, name)


def specialize(call: Call, target: Target) -> Special | str:
    elsewhere = None if target.architecture == "x86_64" else f"{target.name} is no x86-64"
    return add_rows.of_call(call, AddVectors, elsewhere)


def cases() -> Iterable[AddVectors]:
    yield from map(AddVectors, add_rows.plain_cases())
