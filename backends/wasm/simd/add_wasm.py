"""Add of two tensors for WebAssembly: `bevel.backends.vectors.add_rows`, with bytes that saturate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from bevel.backends.program.kernel import Special, Unpacked
from bevel.backends.program.ops.add import Add
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.vectors import add_rows
from bevel.backends.wasm.simd.lanes import not_here, saturated


@dataclass(frozen=True)
class AddWasm(Unpacked):
    rates: ClassVar[Rates] = Rates(input=2.5, call=50, code=900)

    plain: Add

    def build(self, name: str) -> Any:
        return add_rows.build(self.plain, name, saturated)


def specialize(call: Call, target: Target) -> Special | str:
    if isinstance(call.kernel, Add) and call.kernel.besides:
        return "its sums take 64 bits"
    return add_rows.of_call(call, AddWasm, not_here(target))


def cases() -> Iterable[AddWasm]:
    yield from (AddWasm(one) for one in add_rows.plain_cases() if not one.besides)
