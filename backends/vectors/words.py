"""Whether sums and results of a Conv or a Gemm are within 32 bits, by its weights."""

from __future__ import annotations

import numpy as np

from bevel.backends.program.op import Array
from bevel.calib.arithmetic.requantize import Int64

WIDEST = 2**31 - 2**16  # of results before the zero point and the clamp
LEAVES_WORDS = "a result before its clamp may leave 32 bits"


def reach_of(w: Array, largest: int, bias: Array) -> Int64:
    """What no sum of an output is beyond, for inputs up to `largest`."""
    reach: Int64 = np.abs(w.reshape(len(w), -1).astype(np.int64)).sum(axis=1) * largest + np.abs(bias.astype(np.int64))
    return reach


def leaves_words(reach: Int64, multiplier: Array, shift: Array) -> str | None:
    """Why results of sums up to `reach` take more bits, if they may."""
    results = reach * np.ldexp(multiplier.astype(np.float64), -shift.astype(np.int64))
    return None if (results < WIDEST).all() else LEAVES_WORDS
