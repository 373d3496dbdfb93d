"""How kernels call the functions of `backends/cortex_m/c/bevel_dsp.h`."""

from __future__ import annotations

from typing import Any

import numpy as np

from bevel.backends.program.op import Array
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T
from bevel.calib.arithmetic.requantize import Output

HEADER = "bevel_dsp.h"
LANES = 4  # int8 values in a word

# `requantized` needs a shift of at least 33, after `raised` has been added to it; up to 55 the rounding constant, which
# holds the zero point too, is at most 2**30, and so is the upper word of the product that it is added to.
LEAST_SHIFT, MOST_SHIFT = 33, 55


def call(helper: str, *arguments: Any) -> Any:
    """An int32 expression."""
    return T.call_pure_extern("int32", f"bevel_{helper}", *arguments)


def call_void(helper: str, *arguments: Any) -> Any:
    """A statement."""
    return T.evaluate(T.call_extern("void", f"bevel_{helper}", *arguments))


def load_word(buffer: Any, index: Any) -> Any:
    """Four int8 elements of `buffer`, from any address."""
    return call("load_word", T.address_of(buffer[index]))


def requantized(total: Any, multiplier: Any, beyond: Any, raised: int, output: Output) -> Any:
    """`bevel.calib.arithmetic.requantize.requantize` of an int32 `total` for a shift of 33 + `beyond` - `raised`.

    `multiplier` and `beyond` are ints or int32 expressions. total * 2**raised must fit 32 bits.
    """
    if output.power:
        rounded = tir.even_sum(total, beyond + (LEAST_SHIFT - raised))
        return clamped(call("ssat8", rounded + output.zero_point), output)
    lifted = T.shift_left(total, T.int32(raised)) if raised else total
    if output.even:
        return clamped(call("requantize_even", lifted, multiplier, output.zero_point, beyond + 1), output)
    half_and_zero_point = 2 * output.zero_point + 1
    if isinstance(beyond, int):
        rounding = T.int32(half_and_zero_point << beyond)
    else:
        rounding = call("shift_left", half_and_zero_point, beyond)
    return clamped(call("requantize", lifted, multiplier, rounding, beyond + 1), output)


def clamped(value: Any, output: Output) -> Any:
    """An int32 expression between -128 and 127, held to the output's bounds, as int8."""
    above = T.max(value, output.low) if output.low > -128 else value
    return T.cast(T.min(above, output.high) if output.high < 127 else above, "int8")


def without_dead(bound: Array, multiplier: Array, shift: Array) -> tuple[Array, Array]:
    """Multipliers and shifts, with (0, 33) where no accumulator up to `bound` is rescaled to anything but zero.

    Not for an output of `power`, which does not read multipliers.
    """
    dead = bound.astype(np.int64) * multiplier.astype(np.int64) < np.int64(1) << (shift.astype(np.int64) - 1)
    return np.where(dead, 0, multiplier).astype(np.int32), np.where(dead, LEAST_SHIFT, shift).astype(np.int8)


def needed_raise(bound: Array, multiplier: Array, shift: Array) -> int | str:
    """How far to shift accumulators up to `bound` left so that `requantized` takes them all, or why there is no way."""
    shifts = without_dead(bound, multiplier, shift)[1].astype(np.int64)
    raised = max(0, LEAST_SHIFT - int(shifts.min()))
    if int(shifts.max()) + raised > MOST_SHIFT:
        return "its ratios are too far apart"
    if int(bound.max()) << raised >= 2**31:
        return "an accumulator may be too large for a ratio above 1/4"
    return raised
