"""Reference integer arithmetic: what every kernel on every target must equal, bit for bit.

real = scale * (q - zero_point). An accumulator is brought to its output's scale by one fixed-point multiplication and
one rounding, half up:

    y = clamp(zero_point + ((accumulator * multiplier + 2**(shift - 1)) >> shift))

as in Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", section 2.2, with one rounding where theirs has two. Where the product may lie exactly between two integers,
as in models that came with scales that are powers of two, `Output.even` asks for the even one, as QuantizeLinear does.
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
UPPER_WORD = 33  # the smallest shift whose rounding bit lies in the product's upper word


class RatioError(ValueError):
    """A ratio of scales that no multiplier holds."""


def fixed_point(ratio: float, bits: int = MULTIPLIER_BITS) -> tuple[int, int]:
    """`ratio` as (multiplier, shift): ratio ~ multiplier / 2**shift, multiplier in [2**(bits - 1), 2**bits), shift in
    [1, 62]. 31 bits serve int32 accumulators; wider ones leave a multiplier fewer, so that the product fits int64.

    Ratios too small for a shift of 62 (below 2**-32 at 31 bits) become (0, 62): they round every accumulator to zero.
    Raises RatioError for ratios that are not positive or are 2**(bits - 1) or more.
    """
    if not 0 < ratio < 2 ** (bits - 1):
        raise RatioError(f"a requantization ratio must lie in (0, 2**{bits - 1}), and that of its sums is {ratio:.3g}")
    mantissa, exponent = np.frexp(ratio)
    multiplier = int(np.rint(mantissa * 2**bits))
    if multiplier == 2**bits:
        multiplier, exponent = 2 ** (bits - 1), exponent + 1
    shift = int(bits - exponent)
    return (multiplier, shift) if shift <= MAX_SHIFT else (0, MAX_SHIFT)


def fixed_points(ratios: NDArray[np.float64], bits: int = MULTIPLIER_BITS) -> tuple[Int32, NDArray[np.int8]]:
    """`fixed_point` of each element: int32 multipliers and int8 shifts, shaped like `ratios`."""
    pairs = np.array([fixed_point(float(ratio), bits) for ratio in ratios.ravel()], np.int64).reshape(-1, 2)
    return pairs[:, 0].astype(np.int32).reshape(ratios.shape), pairs[:, 1].astype(np.int8).reshape(ratios.shape)


def rounding_shift_right(value: Integers, shift: Integers | int) -> Int64:
    """value / 2**shift, rounded half up, in int64; a shift of 0 changes nothing."""
    wide = np.asarray(shift, np.int64)
    half = np.where(wide > 0, np.int64(1) << np.maximum(wide - 1, 0), np.int64(0))
    result: Int64 = (value.astype(np.int64) + half) >> wide
    return result


def even_shift_right(value: Integers, shift: Integers | int, tolerance: int = 0) -> Int64:
    """value / 2**shift in int64, rounded to nearest; what lies within `tolerance` of a half goes to the even integer.
    The shift is at least 1.

    The tolerance is what a multiplier that is no exact ratio makes of a product that lies on a half.
    """
    wide = np.asarray(shift, np.int64)
    raised = value.astype(np.int64) + ((np.int64(1) << wide >> 1) + tolerance)
    rounded = raised >> wide
    on_half = raised - (rounded << wide) <= 2 * tolerance
    result: Int64 = rounded - (on_half & (rounded & 1 == 1))
    return result


@dataclass(frozen=True)
class Output:
    """Where an integer result ends: its zero point and the interval it is clamped to, all values of `dtype`.

    dtype is int8, but int16 or int32 for activations of formats whose steps int8 cannot hold. Sums that lie exactly
    between two integers are rounded up, or where `even`, to the even one. There, `power` tells kernels that every
    ratio is one of 2**-1 to 2**-30, as `is_power` finds: they then shift sums as they are.
    """

    zero_point: int = 0
    low: int = -128
    high: int = 127
    dtype: str = "int8"
    even: bool = False
    power: bool = False

    def shifted(self, value: Integers, shift: Integers | int) -> Int64:
        """value / 2**shift in int64, rounded; where `even`, every shift is at least 1."""
        return even_shift_right(value, shift) if self.even else rounding_shift_right(value, shift)

    def store(self, rounded: Integers) -> Integers:
        """`rounded` moved by the zero point, clamped, as `dtype`."""
        result: Integers = np.clip(rounded + self.zero_point, self.low, self.high).astype(self.dtype)
        return result


def is_power(multiplier: Integers, shift: Integers) -> bool:
    """Whether every ratio of `fixed_point` is a power of two, from 2**-1 to 2**-30."""
    least, most = MULTIPLIER_BITS, 2 * (MULTIPLIER_BITS - 1)
    return bool((multiplier == 2 ** (MULTIPLIER_BITS - 1)).all() and least <= shift.min() and shift.max() <= most)


def requantize(accumulator: Integers, multiplier: Integers, shift: Integers, output: Output) -> Integers:
    """Integer accumulators to `output.dtype` by per-element (broadcast) multipliers and shifts, one rounding.

    |accumulator * multiplier| must stay below 2**62.
    """
    product = accumulator.astype(np.int64) * multiplier.astype(np.int64)
    return output.store(output.shifted(product, shift))
