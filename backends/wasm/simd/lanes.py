"""Vectors of WebAssembly as TIR expressions: products of pairs, and stores that saturate.

    i32x4.dot_i16x8_s              word = x0 w0 + x1 w1, of int16
    i16x8.narrow_i32x4_s           halfword = word, saturated; bytes of halfwords alike

Source: WebAssembly Core Specification 2.0, section 4.4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bevel.backends.encodings.quads import PAIR
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.vectors.expressions import intrinsic, shuffled, spread, store, stored
from bevel.calib.arithmetic.requantize import Output

WORDS = 4  # of a vector
HALFWORDS = 8
BYTES = 16
LIMITS = {"int8": (-128, 127), "int16": (-(2**15), 2**15 - 1)}


def not_here(target: Target) -> str | None:
    """Why no kernel of this room runs on `target`, if none does."""
    here = target.architecture == "wasm32" and "simd128" in target.abilities
    return None if here else f"{target.name} is no WebAssembly with vectors"


def dot(total: Any, x: Any, w: Any) -> Any:
    """int32x4 `total` with the products of int16x8 x and w, two in each word."""
    return total + products(x, w)


def products(x: Any, w: Any) -> Any:
    """Of int16x8 x and w, the sum of two in each word."""
    return intrinsic("llvm.wasm.dot", x, w, dtype=f"int32x{WORDS}")


def pair_everywhere(buffer: Any, place: Any) -> Any:
    """Two neighbouring int16, in every word."""
    both = T.reinterpret(buffer[T.ramp(place, 1, PAIR)], dtype="int32")
    return T.reinterpret(T.broadcast(both, WORDS), dtype=f"int16x{HALFWORDS}")


def widened(buffer: Any, place: Any) -> Any:
    """Eight neighbouring int8 or int16, as int16."""
    return T.cast(buffer[T.ramp(place, 1, HALFWORDS)], f"int16x{HALFWORDS}")


def store_words(y: Any, place: Any, words: Sequence[Any], count: int, output: Output) -> None:
    """TIR that clamps the first `count` of some int32x4 and writes them to neighbours in y."""
    size = {"int8": BYTES, "int16": HALFWORDS, "int32": WORDS}[output.dtype]
    vectors = size // WORDS
    for first in range(0, len(words), vectors):
        left = count - first * WORDS
        values = clamped(narrowed(list(words[first : first + vectors]), output.dtype), output, size)
        store(y, place + first * WORDS, values, min(size, left), size)


def saturated(rounded: Any, output: Output, size: int, dtype: str) -> Any:
    """`bevel.backends.vectors.expressions.stored`, of a whole vector of bytes by instructions that saturate."""
    if (output.dtype, dtype, size) != ("int8", "int32", BYTES):
        return stored(rounded, output, size, dtype)
    moved = rounded + spread(T.int32(output.zero_point), size)
    words = [shuffled([moved], range(first, first + WORDS)) for first in range(0, size, WORDS)]
    return clamped(narrowed(words, output.dtype), output, size)


def narrowed(words: list[Any], dtype: str) -> Any:
    """Words as one vector of a type, saturated; the last one again where there are too few."""
    if dtype == "int32":
        return words[0]
    halves = [narrow(*both, "int16") for both in in_twos(words)]
    return halves[0] if dtype == "int16" else narrow(*in_twos(halves)[0], "int8")


def in_twos(values: list[Any]) -> list[tuple[Any, Any]]:
    return [(values[place], values[min(place + 1, len(values) - 1)]) for place in range(0, len(values), 2)]


def narrow(a: Any, b: Any, dtype: str) -> Any:
    lanes = HALFWORDS if dtype == "int16" else BYTES
    return intrinsic("llvm.wasm.narrow.signed", a, b, dtype=f"{dtype}x{lanes}")


def clamped(values: Any, output: Output, size: int) -> Any:
    """Within what is narrower than the type."""
    low, high = LIMITS.get(output.dtype, (None, None))
    if output.low != low:
        values = T.max(values, spread(tirx.const(output.low, output.dtype), size))
    if output.high != high:
        values = T.min(values, spread(tirx.const(output.high, output.dtype), size))
    return values


def even_lanes(vectors: Any, dtype: str) -> Any:
    """The words at even places of eight, of another type's vector."""
    return shuffled([T.reinterpret(vectors, dtype=f"{dtype}x{2 * WORDS}")], range(0, 2 * WORDS, 2))
