"""Vectors of 64-bit RISC-V as TIR expressions, which LLVM makes these of: 16-bit factors, and requantization.

    VWMACC.VX   word += x w, of int16: one x, a halfword of w for each word
    VWMACC.VV   the same with as many x
    VMULH       the upper word of a product of words
    VAADD       (x + 1) >> 1

A vector of TIR has a fixed length, and takes as many registers as it needs where each has 128 bits: int32x32 is eight
of the 32, which larger registers leave half empty.

Source: The RISC-V Instruction Set Manual, volume I, "V" Standard Extension for Vector Operations, version 1.0.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.expressions import stored
from bevel.calib.arithmetic.requantize import UPPER_WORD, Output

LANES = (32, 16, 8)  # of a block
WORDS = 4  # of a register
SUMS = 24  # registers that hold sums; the others are for factors
BESIDES = 1  # what a block takes besides its sums, in registers' worth of time


def not_here(target: Target) -> str | None:
    """Why no kernel of this room runs on `target`, if none does."""
    has = target.architecture == "riscv64" and "rvv" in target.abilities
    return None if has else f"{target.name} is no RISC-V with vectors"


def lanes_of(channels: int) -> int:
    """What takes the least time for them, the most of equals."""
    return min(LANES, key=lambda lanes: blocks_of(channels, lanes) * (lanes // WORDS + BESIDES))


def pixels_of(lanes: int) -> int:
    """Whose sums the registers hold."""
    return SUMS * WORDS // lanes


def unknown_zero() -> Any:
    """TIR of a 0 that LLVM does not know: what is read by it is read again in each turn of a loop.

    Else constants are widened before the loop, which takes more registers than there are, and takes the widening from
    the products that do it by themselves.
    """
    kept = statements.alloc_buffer((1,), "int32", scope="local", annotations={"tirx.volatile": True})
    statements.buffer_store(kept, T.int32(0), [0])
    return statements.bind(kept[0])


def requantized(sums: Any, multiplier: Any, right: Any, left: Any | None, output: Output, lanes: int) -> Any:
    """`bevel.calib.arithmetic.requantize.requantize` of int32 lanes: right: shift less `UPPER_WORD`, where that is
    positive; left: how much it lacks, None where none does.

    Sums shifted left are within int32. Then the product's upper word is enough (`bevel.backends.tir.arithmetic`), and
    is at most 2**30, so that nothing overflows.
    """
    shifted = sums if left is None else sums << (left & each(31, lanes))
    wide = T.cast(shifted, f"int64x{lanes}") * T.cast(multiplier, f"int64x{lanes}")
    high = T.cast(wide >> T.broadcast(T.int64(UPPER_WORD - 1), lanes), f"int32x{lanes}")
    by = right & each(31, lanes)  # changes none: TVM bounds what it shifts by the amounts that it takes for possible
    one = each(1, lanes)
    if not output.even:
        return stored(((high >> by) + one) >> one, output, lanes)
    more = T.Select(T.cast(wide, f"int32x{lanes}") != each(0, lanes), one, each(0, lanes))
    odd = (high >> by) >> one & one
    return stored(((high + ((one << by) - one) + (odd | more)) >> by) >> one, output, lanes)


def each(value: int, lanes: int) -> Any:
    return T.broadcast(T.int32(value), lanes)
