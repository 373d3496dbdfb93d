"""Reference integer arithmetic: what every kernel on every target must equal, bit for bit.

real = scale * (q - zero_point). An accumulator is brought to its output's scale by one fixed-point multiplication and
one rounding, half up:

    y = clamp(zero_point + ((accumulator * multiplier + 2**(shift - 1)) >> shift))

as in Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", section 2.2, with one rounding where theirs has two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Integers = NDArray[Any]

MULTIPLIER_BITS = 31
MAX_SHIFT = 62  # the rounding constant 2**(shift - 1) must fit beside the product in an int64


def fixed_point(ratio: float) -> tuple[int, int]:
    """`ratio` as (multiplier, shift): ratio ~ multiplier / 2**shift, multiplier in [2**30, 2**31), shift in [1, 62].

    Ratios below 2**-32 become (0, 62): they round every int32 accumulator to zero.
    Raises ValueError for ratios that are not positive or are 2**30 or more.
    """
    if not 0 < ratio < 2**30:
        raise ValueError(f"a requantization ratio must lie in (0, 2**30), not {ratio}")
    mantissa, exponent = np.frexp(ratio)
    multiplier = int(np.rint(mantissa * 2**MULTIPLIER_BITS))
    if multiplier == 2**MULTIPLIER_BITS:
        multiplier, exponent = 2 ** (MULTIPLIER_BITS - 1), exponent + 1
    shift = int(MULTIPLIER_BITS - exponent)
    return (multiplier, shift) if shift <= MAX_SHIFT else (0, MAX_SHIFT)


def fixed_points(ratios: NDArray[np.float64]) -> tuple[Int32, NDArray[np.int8]]:
    """`fixed_point` of each element: int32 multipliers and int8 shifts, shaped like `ratios`."""
    pairs = np.array([fixed_point(float(ratio)) for ratio in ratios.ravel()], np.int64).reshape(-1, 2)
    return pairs[:, 0].astype(np.int32).reshape(ratios.shape), pairs[:, 1].astype(np.int8).reshape(ratios.shape)


def rounding_shift_right(value: Integers, shift: Integers | int) -> Int64:
    """value / 2**shift, rounded half up, in int64; a shift of 0 changes nothing."""
    wide = np.asarray(shift, np.int64)
    half = np.where(wide > 0, np.int64(1) << np.maximum(wide - 1, 0), np.int64(0))
    result: Int64 = (value.astype(np.int64) + half) >> wide
    return result


@dataclass(frozen=True)
class Output:
    """Where an integer result ends: its zero point and the interval it is clamped to, all int8 values."""

    zero_point: int = 0
    low: int = -128
    high: int = 127

    def store(self, rounded: Integers) -> Int8:
        """`rounded` moved by the zero point, clamped, as int8."""
        result: Int8 = np.clip(rounded + self.zero_point, self.low, self.high).astype(np.int8)
        return result


def requantize(accumulator: Integers, multiplier: Integers, shift: Integers, output: Output) -> Int8:
    """int32 accumulators to int8 by per-element (broadcast) multipliers and shifts, one rounding, half up."""
    product = accumulator.astype(np.int64) * multiplier.astype(np.int64)
    return output.store(rounding_shift_right(product, shift))
