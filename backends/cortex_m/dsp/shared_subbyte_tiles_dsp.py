"""`SubbyteTilesDsp` whose codes another call of the program has too: stored once, as `SharedTilesDsp` stores weights.

Blocks are put together where they are decoded, so that this costs no instruction for a pixel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.cortex_m.dsp import subbyte_tiles_dsp
from bevel.backends.cortex_m.dsp.subbyte_tiles_dsp import SubbyteTilesDsp
from bevel.backends.encodings import packing, subbyte
from bevel.backends.program.op import Array, Operand, constant


@dataclass(frozen=True)
class SharedSubbyteTilesDsp(SubbyteTilesDsp):
    """`SubbyteTilesDsp` with stored in two: codes: int32 [blocks, words], and scales: int32 [blocks, SCALES]."""

    @property
    def shared(self) -> bool:
        return True

    @property
    def stored_words(self) -> int:
        return self.tiles.taps // subbyte.UNIT * self.codes.bits

    def operands(self) -> tuple[Operand, ...]:
        x, stored, *others = super().operands()
        return x, stored, constant("scales", (self.blocks, packing.SCALES), "int32"), *others

    def reference(self, *arrays: Array) -> Array:
        x, codes, scales, *others = arrays
        return super().reference(x, packing.joined(codes, scales), *others)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, stored, *others = super().example(rng)
        return x, *packing.split(stored), *others


def cases() -> Iterable[SharedSubbyteTilesDsp]:
    """Of their kinds some: ranges and tables, one row and several, convolutions, ratios of every kind."""
    yield from (SharedSubbyteTilesDsp(case.inner, case.codes) for case in [*subbyte_tiles_dsp.cases()][::3])
