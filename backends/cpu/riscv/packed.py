"""What kernels for RISC-V with vectors share: lanes, rescaling, and its limits.

rescaling    int32 [blocks, 2, lanes]: multipliers, and shifts beyond `UPPER_WORD`; [blocks, 3, lanes] where some
             channel's shift is less: how far its sums are shifted to the left
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bevel.backends.cpu.riscv.rvv import lanes_of, not_here, pixels_of, requantized, unknown_zero
from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.target import Target
from bevel.backends.vectors.blocks import PackedBlocks
from bevel.backends.vectors.words import reach_of
from bevel.calib.arithmetic.requantize import UPPER_WORD, Int8, Int32, Int64

LARGEST = 2**7  # of an input
LAST = 2**31 - 1


@dataclass(frozen=True)
class PackedRvv(PackedBlocks):
    """lifted: whether some shift is less than `UPPER_WORD`."""

    lifted: bool = False

    @property
    def lanes(self) -> int:
        return lanes_of(self.channels)

    @property
    def pixels(self) -> int:
        """The most of a tile."""
        return pixels_of(self.lanes)

    def fresh(self, block: Any) -> Any:
        return block + unknown_zero()

    @property
    def rows(self) -> int:
        return 3 if self.lifted else 2

    def rescaling_rows(self, multiplier: Int32, shift: Int8) -> tuple[Int32, ...]:
        beyond = shift.astype(np.int32) - UPPER_WORD
        rows = multiplier, np.maximum(beyond, 0), np.maximum(-beyond, 0)
        return rows[: self.rows]

    def rescaling_of(self, *rows: Array) -> tuple[Array, Array]:
        multiplier, right, *left = rows
        shift = right + UPPER_WORD - sum(left)
        return multiplier, shift.astype(np.int8)

    def rescaled(self, sums: Any, rescaling: Any, block: Any) -> Any:
        multiplier, right, *left = (self.row(rescaling, block, row) for row in range(self.rows))
        return requantized(sums, multiplier, right, left[0] if left else None, self.plain.output, self.lanes)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Shifts are what the kernel takes."""
        x, w, bias, multiplier, shift = self.plain.example(rng)
        most = np.log2(LAST / reach_of(w, LARGEST, bias).max()) if self.lifted else 0
        return x, *self.packed(w, bias, multiplier, np.maximum(shift, UPPER_WORD - int(most)).astype(np.int8))


def lifts(shift: Array) -> bool:
    return bool((shift < UPPER_WORD).any())


def refused(plain: Conv | Gemm, call: Call, target: Target) -> str | None:
    """Why no such kernel can stand for it, if none can."""
    if elsewhere := not_here(target):
        return elsewhere
    if (dtype := plain.operands()[0].dtype) != "int8":
        return f"inputs of {dtype}"
    w, bias, _, shift = call.constants
    return too_wide(reach_of(w, LARGEST, bias), shift)


def too_wide(reach: Int64, shift: Array) -> str | None:
    """Why words do not hold sums up to `reach` as `requantized` shifts them, if they do not."""
    left = np.maximum(UPPER_WORD - shift.astype(np.int64), 0)
    fits = reach <= LAST >> left
    return None if fits.all() else f"sums times 2**{int(left[~fits].max())} may leave 32 bits"
