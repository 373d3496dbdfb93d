"""Recurrent networks on Helium: four rows of weights at a time, sixteen products of int8 an instruction, or eight of
int16, as the state is (`backends/cortex_m/c/bevel_recurrent_mve.h`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from bevel.backends.cortex_m.recurrent_rows import RecurrentRows, plain_cases, specialized
from bevel.backends.program.kernel import Special
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target


@dataclass(frozen=True)
class RecurrentMve(RecurrentRows):
    """Packed: int8 [tiles of four rows, blocks, 4, lanes]."""

    lanes: ClassVar[Mapping[str, int]] = {"int8": 16, "int16": 8}
    words: ClassVar[int] = 4
    rates: ClassVar[Rates] = Rates(mac=0.325, besides=77, code=1150)

    @property
    def header(self) -> str:
        return "bevel_recurrent_mve.h"

    def put_vector(self, dtype: str) -> str:
        return f"recurrent_mve_lay_{dtype}"

    def put_rows(self, dtype: str) -> str:
        return f"recurrent_mve_rows_{dtype}"


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: weights of int8 whose sums fit a word."""
    if "mve" not in target.abilities:
        return f"{target.name} has no Helium"
    return specialized(RecurrentMve, call)


def cases() -> Iterable[RecurrentMve]:
    yield from (RecurrentMve(plain) for plain in plain_cases())
