"""Recurrent networks on Helium: four rows of weights at a time, sixteen products of int8 an instruction, or eight of
int16, as the state is (`backends/cortex_m/c/bevel_recurrent_mve.h`)."""

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

ROWS = 4
LANES = {"int8": 16, "int16": 8}  # of a vector
WORDS = 4  # of a vector


@dataclass(frozen=True)
class RecurrentMve(RecurrentRows):
    """Packed: int8 [tiles of four rows, blocks, 4, lanes]."""

    rates: ClassVar[Rates] = Rates(mac=0.34, code=2600)  # of an LSTM of 128 units, without what its gates take

    @property
    def header(self) -> str:
        return "bevel_recurrent_mve.h"

    def vector_words(self, count: int, dtype: str) -> int:
        return WORDS * blocks(count, LANES[dtype])

    def pack(self, weights: Array, dtype: str) -> Array:
        lanes = LANES[dtype]
        rows, k = blocks(len(weights), ROWS), blocks(weights.shape[1], lanes)
        tiled = padded(weights, rows * ROWS, k * lanes).reshape(rows, ROWS, k, lanes)
        return np.ascontiguousarray(tiled.swapaxes(1, 2)).ravel()

    def unpack(self, packed: Array, rows: int, k: int, dtype: str) -> Array:
        lanes = LANES[dtype]
        of_rows, of_k = blocks(rows, ROWS), blocks(k, lanes)
        tiled = packed[: of_rows * ROWS * of_k * lanes].reshape(of_rows, of_k, ROWS, lanes)
        return np.ascontiguousarray(tiled.swapaxes(1, 2).reshape(of_rows * ROWS, of_k * lanes)[:rows, :k])

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
