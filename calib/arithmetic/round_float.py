"""Rounding to the values of a minifloat, as steps of its smallest value: in integers, and from float32.

In steps, every value of a minifloat of M mantissa bits is an integer below 2**(M + 1), or M + 1 leading bits and zeros
behind them. So rounding keeps the leading M + 1 bits, ties to even, but never less than whole steps: subnormals need no
case of their own. Saturates at the largest value, as the OCP Microscaling Formats (MX) Specification v1.0, section 5.3
allows and `bevel.calib.formats.float_format` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.float_format import FloatFormat
from bevel.calib.formats.format import Format
from bevel.calib.formats.levels import wide_levels

Int64 = NDArray[np.int64]

LEAST_FRACTION = 4  # the smallest steps alone are rounded twice, the first time to a sixteenth of one
MOST_FRACTION = 12  # more bits behind a step's point change no figure
SHORT_BITS = 15  # of what is rounded in int16
LONG_BITS = 30  # in int32, of which half is left for what rounds


@dataclass(frozen=True)
class FloatSteps:
    """The steps of a minifloat: integers up to `high` with `mantissa` + 1 significant bits, and their negatives."""

    mantissa: int
    high: int

    @property
    def fine_dtype(self) -> str:
        """What holds the integers before they are rounded: int16 where it leaves enough bits behind the point."""
        return "int16" if SHORT_BITS - self.high.bit_length() >= LEAST_FRACTION else "int32"

    @property
    def fraction(self) -> int:
        """How many bits behind the point integers have before they are rounded."""
        if self.fine_dtype == "int16":
            return SHORT_BITS - self.high.bit_length()
        return max(1, min(MOST_FRACTION, LONG_BITS - self.high.bit_length()))

    @property
    def exponents(self) -> int:
        """How many distances between neighbours there are: 1, 2, ... 2**(exponents - 1) steps."""
        return max(1, self.high.bit_length() - self.mantissa)

    def round_fine(self, fine: NDArray[Any], fraction: int) -> Int64:
        """fine / 2**fraction, rounded to the nearest step, ties to even, saturating. Exact for |fine| < 2**62."""
        wide = fine.astype(np.int64)
        magnitude = np.minimum(np.abs(wide), np.int64(self.high) << fraction)
        _, bits = np.frexp(magnitude.astype(np.longdouble))
        shift = np.maximum(bits.astype(np.int64) - 1 - self.mantissa, fraction)
        kept = magnitude >> shift
        rest = magnitude - (kept << shift)
        half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), np.int64(1))
        kept += (rest > half) | ((rest == half) & (kept % 2 == 1))
        result: Int64 = np.sign(wide) * np.minimum(kept << (shift - fraction), self.high)
        return result

    def round_float(self, x: NDArray[np.float32]) -> Int64:
        """The nearest step of each float32 in steps, ties to even, saturating; NaN becomes the lowest."""
        bound = np.float32(self.high)
        clamped = np.where(x > -bound, np.minimum(x, bound), -bound).astype(np.float64)
        _, bits = np.frexp(clamped)
        distance = np.ldexp(1.0, np.maximum(bits - 1 - self.mantissa, 0))
        result: Int64 = np.rint(np.rint(clamped / distance) * distance).astype(np.int64)
        return result


def float_steps(format: Format) -> FloatSteps | None:
    """The steps of a minifloat that `bevel.calib.formats.levels.wide_levels` knows, or of 0 and powers of two, which is
    one without a mantissa; None for any other format."""
    levels = wide_levels(format)
    if levels is None:
        return None
    if isinstance(format, FloatFormat):
        return FloatSteps(format.mantissa, levels.steps[-1])
    powers = tuple(2**place for place in range(levels.steps[-1].bit_length()))
    is_powers = levels.steps == (*(-one for one in reversed(powers)), 0, *powers)
    return FloatSteps(0, levels.steps[-1]) if is_powers else None
