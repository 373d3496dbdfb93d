"""`PositionalGemmDsp` whose weights another call of the program has too: stored once, as `SharedTilesDsp` stores them.

Where a block's sums start is read from elsewhere, which costs one instruction or two a block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.cortex_m.dsp import positional_gemm_dsp
from bevel.backends.cortex_m.dsp.positional_gemm_dsp import PositionalGemmDsp
from bevel.backends.program.op import Array, Operand, constant
from bevel.calib.arithmetic.requantize import Int32


@dataclass(frozen=True)
class SharedPositionalGemmDsp(PositionalGemmDsp):
    """`PositionalGemmDsp` with weights: int32 [blocks, taps / 2] and starts: int32 [blocks, channels] for packed."""

    @property
    def shared(self) -> bool:
        return True

    def operands(self) -> tuple[Operand, ...]:
        x, packed, *others = super().operands()
        blocks = packed.shape[0]
        return (
            x,
            constant("weights", (blocks, self.taps // 2), "int32"),
            constant("starts", (blocks, self.channels), "int32"),
            *others,
        )

    def reference(self, *arrays: Array) -> Array:
        x, weights, starts, *others = arrays
        return super().reference(x, np.concatenate([starts, weights], axis=1), *others)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, packed, *others = super().example(rng)
        return x, *split(packed, self.channels), *others


def split(packed: Int32, channels: int) -> tuple[Int32, Int32]:
    """(weights, starts) of blocks of so many channels."""
    return np.ascontiguousarray(packed[:, channels:]), np.ascontiguousarray(packed[:, :channels])


def cases() -> Iterable[SharedPositionalGemmDsp]:
    """All that blocks of one call are tried with."""
    for case in positional_gemm_dsp.cases():
        yield SharedPositionalGemmDsp(case.rows, case.k, case.n, case.output, case.bits, case.raised)
