"""Walsh-Hadamard transforms with the DSP extension, three stages at a time: `backends/cortex_m/butterfly_rows.py`."""

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
class WalshHadamardDsp(ButterflyRows):
    rates: ClassVar[Rates] = Rates(mac=5.1, output=12.5, besides=2.14, code=1130)

    @property
    def header(self) -> str:
        return HEADER


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, WalshHadamard):
        return "no Walsh-Hadamard transform"
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    if "mve" in target.abilities:
        return f"{target.name} has Helium, for which the same functions are others"
    return obstacle(plain) or Special(WalshHadamardDsp(plain), call.constants)


def cases() -> Iterable[WalshHadamardDsp]:
    return map(WalshHadamardDsp, plain_cases())
