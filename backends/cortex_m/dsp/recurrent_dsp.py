"""Recurrent networks for the DSP extension: four rows of weights at a time, two products in one SMLAD.

The row of x and the state are widened to int16 once a step; weights are widened as they are read
(`backends/cortex_m/c/bevel_recurrent.h`).
"""

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
class RecurrentDsp(RecurrentRows):
    """Packed: int32, for four rows and four elements of each a word a row."""

    lanes: ClassVar[Mapping[str, int]] = {"int8": 4, "int16": 4}
    words: ClassVar[int] = 2
    order: ClassVar[list[int] | slice] = [0, 2, 1, 3]
    stored: ClassVar[str] = "<i4"
    rates: ClassVar[Rates] = Rates(mac=1.25, besides=79, code=1050)

    @property
    def header(self) -> str:
        return "bevel_recurrent.h"

    def put_vector(self, dtype: str) -> str:
        return f"recurrent_{dtype}"

    def put_rows(self, dtype: str) -> str:
        return "recurrent_rows"


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: weights of int8 whose sums fit a word."""
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    return specialized(RecurrentDsp, call)


def cases() -> Iterable[RecurrentDsp]:
    yield from (RecurrentDsp(plain) for plain in plain_cases())
