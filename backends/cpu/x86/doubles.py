"""Requantization in doubles, for processors without shifts of 64 bits: one fused multiplication and addition an output.

A sum is within 32 bits and a multiplier within 31, so their product, which such an addition does not round, leaves its
one rounding to the last place of 1.5 * 2**52, where doubles are the integers; their lower words are the results:

    low word of (sum * multiplier * 2**-shift + (1.5 * 2**52 + zero point))
        ==  zero point + ((sum * multiplier + 2**(shift - 1)) >> shift)

but for products that lie on a half, which processors round to even: they do so unless a program asks for another mode.
A product on a half is an odd multiple of 2**(shift - 1), and its sum one of that less the powers of two in the
multiplier: where no sum is as large, or only such as the clamp cuts off on either side, there is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bevel.backends.encodings.quads import BLOCK, LANES, SCALES
from bevel.backends.program.op import Array
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.vectors.expressions import intrinsic, shuffled, spread, stored
from bevel.calib.arithmetic.requantize import Int64, Output

INTEGERS = 1.5 * 2**52  # what lies around it has no fractions
QUARTER = 4  # doubles of a vector
# Of a block: where VSHUFPS leaves the lower words of doubles, and VPACKSSDW and VPACKSSWB what is made of them.
EVEN = (0, 2, 8, 10, 4, 6, 12, 14)
PACKED = (0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15)


def never_on_a_half(reach: Int64, multiplier: Array, shift: Array, output: Output) -> bool:
    """Whether no sum up to `reach` (of each output) makes a product between two integers that its clamp tells apart."""
    wide, by = multiplier.astype(np.int64), shift.astype(np.int64)
    widest = 1 + max(abs(end - output.zero_point) for end in (output.low, output.high))
    unclamped = np.ldexp(float(widest), by) / np.maximum(wide, 1) + 1
    least = np.minimum(reach, np.minimum(unclamped, 2.0**31).astype(np.int64))
    power = wide & -wide
    return bool((least * power < np.int64(1) << (by - 1)).all())


def requantized(sums: Any, rescaling: Any, block: Any, output: Output) -> Any:
    """Of int32x16, by the doubles that `quads.pack_rescaling` stored for a block."""
    added = T.broadcast(T.float64(INTEGERS + output.zero_point), QUARTER)

    def rounded(first: int) -> Any:
        taken = T.cast(shuffled([sums], range(first, first + QUARTER)), f"float64x{QUARTER}")
        place = block * LANES + SCALES + first
        scale = T.reinterpret(rescaling[T.ramp(place, 1, QUARTER)], dtype=f"float64x{QUARTER}")
        total = intrinsic("llvm.fma", taken, scale, added, dtype=f"float64x{QUARTER}")
        return T.reinterpret(total, dtype=f"int32x{QUARTER * 2}")

    quarters = [rounded(first) for first in range(0, BLOCK, QUARTER)]
    words = [shuffled(quarters[place : place + 2], EVEN) for place in (0, 2)]
    if output.dtype != "int8":
        half = len(EVEN)
        places = [EVEN.index(2 * (place % half)) + place // half * half for place in range(BLOCK)]
        return stored(shuffled(words, places), Output(0, output.low, output.high, output.dtype))
    pairs = intrinsic("llvm.x86.avx2.packssdw", *words, dtype=f"int16x{BLOCK}")
    both = [shuffled([pairs], range(first, first + BLOCK // 2)) for first in (0, BLOCK // 2)]
    mixed = intrinsic("llvm.x86.sse2.packsswb.128", *both, dtype=f"int8x{BLOCK}")
    limits = np.iinfo(np.int8)
    if output.low > limits.min:
        mixed = T.max(mixed, spread(tirx.const(output.low, "int8"), BLOCK))
    if output.high < limits.max:
        mixed = T.min(mixed, spread(tirx.const(output.high, "int8"), BLOCK))
    return shuffled([mixed], [PACKED.index(place) for place in range(BLOCK)])
