"""Vectors of 64-bit Arm as TIR expressions: dot products of four bytes each, and requantization.

    SDOT            word += x0 w0 + x1 w1 + x2 w2 + x3 w3, of int8             FEAT_DotProd
    SMULL, SMULL2   halfword = x0 w0, of int8: both halves of a vector         without it: the same sum in four
    ADDP            halfword = x0 w0 + x1 w1, of neighbours
    SADALP          word += x0 w0 + x1 w1 + x2 w2 + x3 w3, of halfwords
    SMLAL, SMLAL2   word += x w, of int16, which LLVM makes of these: both halves of a vector
    SRSHL           (x + 2**(s - 1)) >> s of a 64-bit lane, with no overflow of the sum

Source: Arm Architecture Reference Manual for A-profile architecture, chapter C7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bevel.backends.encodings.quads import BLOCK, QUAD
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.backends.vectors.expressions import intrinsic, shuffled, stored
from bevel.calib.arithmetic.requantize import Output

WORDS = 4  # of a vector
VECTORS = BLOCK // WORDS  # that hold the sums of a block
SIZE = WORDS * QUAD  # bytes of a vector
PAIR = 2  # 64-bit lanes of a vector
LOWEST = -128
HALF = BLOCK // 2


def not_here(target: Target) -> str | None:
    """Why no kernel of this room runs on `target`, if none does."""
    return None if target.architecture == "aarch64" else f"{target.name} is no 64-bit Arm"


def dot(total: Any, x: Any, w: Any, fused: bool) -> Any:
    """int32x4 `total` with the products of int8x16 x and w, four in each word.

    fused: by SDOT, which takes x last, where a lane may stand. Without it no weight may be `LOWEST`: two products of
    -128 by -128 leave a halfword.
    """
    if fused:
        return intrinsic("llvm.aarch64.neon.sdot", total, w, x, dtype=f"int32x{WORDS}")
    half = SIZE // 2
    low, high = (
        T.cast(shuffled([x], part), f"int16x{half}") * T.cast(shuffled([w], part), f"int16x{half}")
        for part in (range(half), range(half, SIZE))
    )
    pairs = intrinsic("llvm.aarch64.neon.addp", low, high, dtype=f"int16x{half}")
    return total + intrinsic("llvm.aarch64.neon.saddlp", pairs, dtype=f"int32x{WORDS}")


def multiplied(x: Any, w: Any, part: int) -> Any:
    """int32x8 of the products of half `part` of 16, of int8x16 x and int16x16 w."""
    places = range(part * HALF, (part + 1) * HALF)
    one, other = (T.cast(shuffled([each], places), f"int32x{HALF}") for each in (x, w))
    return one * other


def repeated(x: Any, lane: int) -> Any:
    """The quad number `lane` of int8x16, in every word."""
    words = T.reinterpret(x, dtype=f"int32x{WORDS}")
    return T.reinterpret(shuffled([words], [lane] * WORDS), dtype=f"int8x{SIZE}")


def repeated_quad(buffer: Any, place: Any) -> Any:
    """Four neighbouring bytes, in every word."""
    quad = T.reinterpret(buffer[T.ramp(place, 1, QUAD)], dtype="int32")
    return T.reinterpret(T.broadcast(quad, WORDS), dtype=f"int8x{SIZE}")


def requantized(sums: Any, multiplier: Any, shift: Any, output: Output) -> Any:
    """`bevel.calib.arithmetic.requantize.requantize` of int32x16. shift: int32x16, how far to shift to the left, so
    none of it is above 0.

    Results before the clamp are within int32.
    """
    products = T.cast(sums, f"int64x{BLOCK}") * T.cast(multiplier, f"int64x{BLOCK}")
    shifts = T.cast(shift, f"int64x{BLOCK}")
    rounded = [shift_of(output)(pair(products, first), pair(shifts, first)) for first in range(0, BLOCK, PAIR)]
    return stored(T.cast(shuffled(rounded, range(BLOCK)), f"int32x{BLOCK}"), output)


def pair(values: Any, first: int) -> Any:
    return shuffled([values], range(first, first + PAIR))


def shift_of(output: Output) -> Callable[[Any, Any], Any]:
    def to_even(product: Any, shift: Any) -> Any:
        one = T.broadcast(T.int64(1), PAIR)
        below = shifted("sshl", one, T.broadcast(T.int64(-1), PAIR) - shift) - one  # one less than half a unit
        return shifted("sshl", product + below + (shifted("sshl", product, shift) & one), shift)

    return to_even if output.even else lambda product, shift: shifted("srshl", product, shift)


def shifted(name: str, values: Any, by: Any) -> Any:
    return intrinsic(f"llvm.aarch64.neon.{name}", values, by, dtype=f"int64x{PAIR}")
