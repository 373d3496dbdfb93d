"""What kernels for 64-bit Arm share that compute 16 channels at once: rescaling, and its limits.

rescaling    int32 [blocks, 2, 16]: multipliers, and shifts to the left (SRSHL), so none of them above 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bevel.backends.cpu.arm.neon import not_here, requantized
from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.target import Target
from bevel.backends.vectors.blocks import PackedBlocks
from bevel.backends.vectors.words import leaves_words, reach_of
from bevel.calib.arithmetic.requantize import Int8, Int32

REACH = 2**8  # of an input less its zero point, and some


@dataclass(frozen=True)
class PackedArm(PackedBlocks):
    @property
    def rows(self) -> int:
        return 2

    def rescaling_rows(self, multiplier: Int32, shift: Int8) -> tuple[Int32, ...]:
        return multiplier, -shift.astype(np.int32)

    def rescaling_of(self, *rows: Array) -> tuple[Array, Array]:
        multiplier, by = rows
        return multiplier, (-by).astype(np.int8)

    def rescaled(self, sums: Any, rescaling: Any, block: Any) -> Any:
        multiplier, shift = (self.row(rescaling, block, row) for row in range(2))
        return requantized(sums, multiplier, shift, self.plain.output)


def refused(plain: Conv | Gemm, call: Call, target: Target) -> str | None:
    """Why no such kernel can stand for it, if none can."""
    if elsewhere := not_here(target):
        return elsewhere
    if (dtype := plain.operands()[0].dtype) != "int8":
        return f"inputs of {dtype}"
    w, bias, multiplier, shift = call.constants
    return leaves_words(reach_of(w, REACH, bias), multiplier, shift)
