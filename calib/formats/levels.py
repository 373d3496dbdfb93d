"""Formats as small integers times a unit, so that integer hardware multiplies them exactly.

Every value of E2M1 is an integer below 13 over 2, of E2M3 one below 61 over 8; powers of two and their sums are
integers over the smallest of them. Where the integers fit int8, a product of two such formats is a product of int8
numbers, and the unit belongs to the scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.float_format import FloatFormat
from bevel.calib.formats.format import Format, IntFormat

LARGEST_STEP = 127
LARGEST_WIDE_STEP = 2**24 - 1  # what float32 holds exactly
TRIED_STEPS = 2**11  # for a list's largest value, unless it is a power of two
EXACT = 1e-9  # values are sums of a few powers of two over one of them: what is no integer misses by far more


@dataclass(frozen=True)
class Levels:
    """Values of a format as `unit` times an integer: `steps`, ascending."""

    steps: tuple[int, ...]
    unit: float

    @property
    def array(self) -> NDArray[np.int64]:
        return np.array(self.steps, np.int64)


@cache
def integer_levels(format: Format) -> Levels | None:
    """The largest unit of which all values of `format` are multiples within int8, or None where there is none.

    Integer formats have unit 1. uint8 has none here: its values pass 127 (its codes less 128 are int8's).
    """
    if isinstance(format, IntFormat):
        fits = format.low >= -LARGEST_STEP - 1 and format.high <= LARGEST_STEP
        return Levels(tuple(range(format.low, format.high + 1)), 1.0) if fits else None
    if len(values := format.values()) > 2 * LARGEST_STEP + 1:
        return None
    largest = np.abs(values).max()
    for steps in range(1, LARGEST_STEP + 1):
        multiples = values / largest * steps
        if np.abs(multiples - np.rint(multiples)).max() < EXACT:
            return Levels(tuple(int(step) for step in np.rint(multiples)), float(largest / steps))
    return None


@cache
def wide_levels(format: Format) -> Levels | None:
    """The values of a minifloat, or of a list beyond int8, as multiples of a unit, where these stay below 2**24.

    E3M2 has steps up to 448, E4M3 up to 229376, powers of two of 5 bits up to 2**14; E5M2, bfloat16 and float16 have
    none. Integer formats, and lists that `integer_levels` knows, have none either.
    """
    if isinstance(format, FloatFormat):
        unit = 2.0 ** (format.smallest_exponent - format.mantissa)
        if format.high / unit > LARGEST_WIDE_STEP:
            return None
        return Levels(tuple(int(step) for step in format.values() / unit), unit)
    if isinstance(format, IntFormat) or integer_levels(format) is not None:
        return None
    values = format.values()
    for steps in (*range(LARGEST_STEP + 1, TRIED_STEPS), *(2**power for power in range(11, 24))):
        multiples = values / np.abs(values).max() * steps
        if np.abs(multiples - np.rint(multiples)).max() < EXACT:
            return Levels(tuple(int(step) for step in np.rint(multiples)), float(np.abs(values).max() / steps))
    return None


def levels_of(format: Format) -> Levels | None:
    """The steps of a format, within int8 where they fit it; None where no integers below 2**24 stand for its values."""
    return integer_levels(format) or wide_levels(format)


def nearest(x: NDArray[Any], format: Format, levels: Levels) -> NDArray[np.int64]:
    """The step of the value nearest to `x`, given in steps: the format's own rounding, ties and saturation."""
    steps: NDArray[np.int64] = np.rint(format.round(np.asarray(x, np.float64) * levels.unit) / levels.unit).astype(
        np.int64
    )
    return steps
