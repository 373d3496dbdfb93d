"""`bevel.calib.arithmetic.requantize` in words of 32 bits, for devices that make 64 out of several instructions.

The upper word of a product is an instruction everywhere (`mul_hi`). With a shift of 33 or more it is all that is
needed, because the lower word is below one unit of the upper:

    (a * m + 2**(s - 1)) >> s  ==  (mul_hi(a, m) + 2**(s - 33)) >> (s - 32)                          for s >= 33

A smaller shift moves the accumulator to the left first, so that it becomes 33. What would not fit then is clamped: m is
2**30 or more there, so that |a| of 2**(s - 20) already makes 2**10 of an int8 output, which ends below 256, and
|a| of 2**(s - 12) makes 2**18 of an int16 one.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.tir import arithmetic
from bevel.backends.tir.lazy import T
from bevel.calib.arithmetic.requantize import UPPER_WORD, Output

MUL_HI = "bevel_mul_hi"  # of two int32: the upper word of their product
SATURATING = {"int8": 20, "int16": 12}  # how far below the shift a power of two saturates the output
MOST_LEFT = 30


def requantize32(accumulator: Any, multiplier: Any, shift: Any, output: Output) -> Any:
    """`bevel.backends.tir.arithmetic.requantize` of one int32 expression, for any multiplier and shift of
    `fixed_point`; ties to even as there."""
    if output.even or output.power:
        return arithmetic.requantize(accumulator, multiplier, shift, output)
    s = T.cast(shift, "int32")
    # TVM bounds shifts by shifting their bounds: the masks change none, and keep the clamp behind them.
    beyond = T.max(s - UPPER_WORD, 0) & 31
    left = T.max(T.min(UPPER_WORD - s, MOST_LEFT), 0) & 31
    saturating = T.int32(1) << (T.max(s - SATURATING[output.dtype], 0) & 31)
    limit = T.if_then_else(s >= UPPER_WORD, T.int32(2**31 - 1), saturating)
    moved = T.max(T.min(accumulator, limit), 0 - limit) << left
    upper = T.call_pure_extern("int32", MUL_HI, moved, T.cast(multiplier, "int32"))
    return arithmetic.store((upper + (T.int32(1) << beyond)) >> (beyond + 1), output)
