"""Recurrent networks for the DSP extension: four rows of weights at a time, two products in one SMLAD.

The row of x and the state are widened to int16 once a step; weights are widened as they are read
(`backends/cortex_m/c/bevel_recurrent.h`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bevel.backends.cortex_m.recurrent_rows import RecurrentRows, blocks, padded, plain_cases, specialized
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target

ROWS, ELEMENTS = 4, 4
ORDER = [0, 2, 1, 3]  # of the elements of a word


@dataclass(frozen=True)
class RecurrentDsp(RecurrentRows):
    """Packed: int32, for four rows and four elements of each a word a row."""

    rates: ClassVar[Rates] = Rates(mac=1.22, code=2600)  # of an LSTM of 128 units, without what its gates take

    @property
    def header(self) -> str:
        return "bevel_recurrent.h"

    def vector_words(self, count: int, dtype: str) -> int:
        return 2 * blocks(count, ELEMENTS)

    def pack(self, weights: Array, dtype: str) -> Array:
        rows, k = (blocks(size, 4) for size in weights.shape)
        found = padded(weights, rows * ROWS, k * ELEMENTS).reshape(rows, ROWS, k, ELEMENTS)[..., ORDER]
        return np.ascontiguousarray(found.swapaxes(1, 2)).view("<i4").ravel()

    def unpack(self, packed: Array, rows: int, k: int, dtype: str) -> Array:
        of_rows, of_k = blocks(rows, ROWS), blocks(k, ELEMENTS)
        words = packed[: of_rows * of_k * ROWS].astype("<i4").reshape(of_rows, of_k, ROWS, 1)
        found = words.view(np.int8)[..., ORDER].swapaxes(1, 2).reshape(of_rows * ROWS, of_k * ELEMENTS)
        return np.ascontiguousarray(found[:rows, :k])

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
