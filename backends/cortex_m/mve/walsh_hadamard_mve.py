"""Walsh-Hadamard transforms on Helium, four sums at a time: `backends/cortex_m/butterfly_rows.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from bevel.backends.cortex_m.butterfly_rows import HEADER, ButterflyRows, obstacle, plain_cases
from bevel.backends.program.kernel import Special
from bevel.backends.program.ops.walsh_hadamard import WalshHadamard
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target


@dataclass(frozen=True)
class WalshHadamardMve(ButterflyRows):
    rates: ClassVar[Rates] = Rates(mac=2.95, output=3.9, besides=0.83, code=2640)

    @property
    def header(self) -> str:
        return HEADER


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, WalshHadamard):
        return "no Walsh-Hadamard transform"
    if "mve" not in target.abilities:
        return f"{target.name} has no Helium"
    return obstacle(plain) or Special(WalshHadamardMve(plain), call.constants)


def cases() -> Iterable[WalshHadamardMve]:
    return map(WalshHadamardMve, plain_cases())
