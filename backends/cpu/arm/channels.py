"""What kernels for 64-bit Arm share that compute 16 channels at once: bias and rescaling in blocks, and their limits.

bias         int32 [blocks, 16]
rescaling    int32 [blocks, 2, 16]: multipliers, and shifts to the left (SRSHL), so none of them above 0
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bevel.backends.cpu.arm.neon import not_here, requantized
from bevel.backends.encodings.quads import BLOCK
from bevel.backends.program.op import Array, Operand, constant
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.expressions import store
from bevel.backends.vectors.words import leaves_words, reach_of
from bevel.calib.arithmetic.requantize import Int8, Int32, Output

REACH = 2**8  # of an input less its zero point, and some


def operands(channels: int) -> tuple[Operand, Operand]:
    blocks = blocks_of(channels, BLOCK)
    return constant("bias", (blocks, BLOCK), "int32"), constant("rescaling", (blocks, 2, BLOCK), "int32")


def pack(bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Int32, Int32]:
    """Channels that do not exist are 0, times 0."""
    blocks = blocks_of(bias.size, BLOCK)
    room = (0, blocks * BLOCK - bias.size)
    both = np.stack([np.pad(multiplier, room), np.pad(-shift.astype(np.int32), room)])
    rescaling = np.ascontiguousarray(both.reshape(2, blocks, BLOCK).transpose(1, 0, 2))
    return np.pad(bias, room).reshape(blocks, BLOCK), rescaling


def unpack(packed: Sequence[Array], channels: int) -> tuple[Array, ...]:
    """Bias, multiplier and shift from what `pack` made of them."""
    bias, rescaling = packed
    multiplier, shift = (rescaling[:, which].reshape(-1)[:channels] for which in range(2))
    return bias.reshape(-1)[:channels], multiplier, (-shift).astype(np.int8)


def store_results(
    y: Any, places: Sequence[Any], sums: Any, rescaling: Any, block: Any, count: int, output: Output
) -> None:
    """TIR that writes the first `count` outputs of a block of some pixels to their places in y: of int32x16 sums, the
    bias among them, that lie one after the other.

    All are computed before the first is written, so that what rescales them is loaded once: y might overlap it, as far
    as LLVM knows.
    """
    kept = statements.alloc_buffer((len(places) * BLOCK,), output.dtype, scope="local")
    multiplier, shift = (rescaling[T.ramp((block * 2 + which) * BLOCK, 1, BLOCK)] for which in range(2))
    for pixel in range(len(places)):
        where = T.ramp(pixel * BLOCK, 1, BLOCK)
        statements.buffer_store(kept, requantized(sums[where], multiplier, shift, output), [where])
    for pixel, place in enumerate(places):
        store(y, place, kept[T.ramp(pixel * BLOCK, 1, BLOCK)], count)


def refused(plain: Conv | Gemm, call: Call, target: Target) -> str | None:
    """Why no such kernel can stand for it, if none can."""
    if elsewhere := not_here(target):
        return elsewhere
    if (dtype := plain.operands()[0].dtype) != "int8":
        return f"inputs of {dtype}"
    w, bias, multiplier, shift = call.constants
    return leaves_words(reach_of(w, REACH, bias), multiplier, shift)
