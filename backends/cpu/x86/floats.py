"""Requantization in floats: one fused multiplication and addition an output, and no conversion.

Floats of [2**23, 2**24) are the integers, one to each pattern of bits. Sums that start at the bits of 1.5 * 2**23, and
an offset o, are floats wherever they are within 2**22 of them:

    x = 1.5 * 2**23 + o + sum,  as the bits of a word that products were added to
    x * s + (1.5 * 2**23 + z - k),  rounded once, to an integer, is  1.5 * 2**23 + z + round(s * sum + f)
    k = round(s * (1.5 * 2**23 + o) - f)

A scale of 24 bits is not the multiplier's 31, and cannot be what the integer rule says of every sum. It needs not: both
rise with the sum, so that they agree once they reach each of the clamp's results, 255 of them at most, at the same sum.
Those sums say which fractions f will do for a scale (`Bounds`), and offsets are tried until one makes such a fraction.
What the sums of an output cannot reach is not asked, and a bias is part of f.
Outputs without a scale that fits are rescaled in another way.

Processors round to the nearest, unless a program asks for another mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.backends.cpu.x86.vectors import halves
from bevel.backends.encodings.quads import BLOCK, FLOAT_LANES
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.vectors.expressions import intrinsic, shuffled, spread
from bevel.calib.arithmetic.requantize import Int8, Int32, Int64, Output

MIDDLE = 3 * 2**22  # of the floats that are the integers
BITS = 0x4B400000  # its pattern
REACH = 2**22  # of sums and offsets from it
OFFSETS = 2**20  # what wider sums than these two leave for offsets
TRIED = (2**9, 2**13)  # whole parts k on either side: of all outputs, then of those that are left
NEIGHBOURS = (None, 0.0, 1.0)  # of the nearest scale: itself, and those towards an end
WIDEST_SUM = 2**29  # whose pattern is a finite, positive float
LARGEST_SCALE = 2.0
EXACT = 2**24  # integers that are floats
WIDEST = 2**8  # of zero points

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Floats:
    """Of each output: what its sums of products start at, its scale, what is added, and whether they do."""

    start: Int32
    scale: NDArray[np.float32]
    added: NDArray[np.float32]
    exact: NDArray[np.bool_]


@dataclass(frozen=True)
class Bounds:
    """`low` < f < `high` for each output."""

    low: Float64
    high: Float64


def found(bias: Int32, span: Int64, multiplier: Int32, shift: Int8, output: Output) -> Floats:
    """What rescales sums of products up to `span`, beside the bias, of each output by the integer rule."""
    ideal = np.ldexp(multiplier.astype(np.float64), -shift.astype(np.int64))
    seen = np.minimum(span, REACH - OFFSETS)
    first = thresholds(bias, seen, (multiplier, shift), output)
    inside = (first > -seen[:, np.newaxis]) & (first <= seen[:, np.newaxis])
    certain = inside.all(axis=1) | (span == seen) | (multiplier == 0)
    exact = (span < WIDEST_SUM) & (ideal < LARGEST_SCALE) & certain
    start, scale, always = np.full(len(seen), BITS), np.zeros(len(seen)), (first <= -seen[:, np.newaxis]).sum(axis=1)
    constant = ~inside.any(axis=1)
    added = MIDDLE + np.where(constant, output.low + always, output.zero_point)
    left = np.flatnonzero(exact & ~constant)
    for tried, neighbour in product(TRIED, NEIGHBOURS):
        one = nearby(ideal[left], neighbour)
        within = bounds(first[left], seen[left], one, output)
        fits, offset, whole = fraction(one, within, REACH - seen[left], tried)
        # The least sum's result, and where sums go on beyond those seen, what any positive float's is, are positive.
        fits &= (MIDDLE + within.low - seen[left] * one > output.high - output.low) & (
            (span[left] == seen[left]) | (whole < MIDDLE + output.low)
        )
        some = left[fits]
        start[some] += offset[fits]
        scale[some] = one[fits]
        added[some] -= whole[fits]
        left = left[~fits]
    exact[left] = False
    return Floats(start.astype(np.int32), scale.astype(np.float32), added.astype(np.float32), exact)


def results(output: Output) -> Int64:
    """Those above the clamp's least, before the zero point."""
    return np.arange(output.low + 1, output.high + 1, dtype=np.int64) - output.zero_point


def thresholds(bias: Int32, seen: Int64, rescaling: tuple[Int32, Int8], output: Output) -> Int64:
    """[outputs, results]: the least sum of products, as far as `seen` and one beyond, that makes such a result or more;
    rescaling: multipliers and shifts."""
    multiplier, by = (one.astype(np.int64)[:, np.newaxis] for one in rescaling)
    wanted, limit, before = results(output), seen[:, np.newaxis], bias.astype(np.int64)[:, np.newaxis]
    near = np.ceil(np.ldexp(wanted - 0.5, by) / np.maximum(multiplier, 1)) - before
    first = np.clip(near, -limit, limit + 1).astype(np.int64)
    first += output.shifted((before + first) * multiplier, by) < wanted
    first -= output.shifted((before + first - 1) * multiplier, by) >= wanted
    first = np.where(multiplier == 0, np.where(wanted <= 0, -limit, limit + 1), first)
    result: Int64 = np.clip(first, -limit, limit + 1)
    return result


def nearby(ideal: Float64, end: float | None) -> Float64:
    """The nearest floats, or their neighbours towards an end."""
    nearest = ideal.astype(np.float32)
    return (nearest if end is None else np.nextafter(nearest, np.float32(end))).astype(np.float64)


def bounds(first: Int64, seen: Int64, scale: Float64, output: Output) -> Bounds:
    """Of fractions that reach each result at the sum `first`, and at none before it."""
    half, by, limit = results(output) - 0.5, scale[:, np.newaxis], seen[:, np.newaxis]
    low = np.where(first <= limit, half - first * by, -np.inf).max(axis=1)
    high = np.where(first > -limit, half - (first - 1) * by, np.inf).min(axis=1)
    return Bounds(np.where(np.isfinite(low), low, high - 1), np.where(np.isfinite(high), high, low + 1))


def fraction(scale: Float64, within: Bounds, room: Int64, tried: int) -> tuple[NDArray[np.bool_], Int64, Int64]:
    """Whether an offset below `room` makes a fraction within bounds, which, and the whole part k it comes with."""
    by = np.maximum(scale, np.finfo(np.float32).tiny)[:, np.newaxis]
    middle = ((within.low + within.high) / 2)[:, np.newaxis]
    whole = np.rint(MIDDLE * by - middle) + np.arange(-tried, tried + 1)
    place = np.rint((whole + middle) / by)
    away = np.where(np.abs(place - MIDDLE) < room[:, np.newaxis] - 1, np.abs(place * by - whole - middle), np.inf)
    best = np.argmin(away, axis=1)[:, np.newaxis]
    chosen, taken, least = (np.take_along_axis(one, best, axis=1)[:, 0] for one in (place, whole, away))
    exact = chosen * scale - taken
    fits = (exact > within.low) & (exact < within.high) & np.isfinite(least) & (np.abs(MIDDLE - taken) < EXACT - WIDEST)
    return fits, np.where(fits, chosen - MIDDLE, 0).astype(np.int64), np.where(fits, taken, 0).astype(np.int64)


def rounded(sums: Any, rescaling: Any, block: Any) -> Any:
    """int32x16 of results before the clamp, of sums and `quads.pack_floats`' rows for their block."""
    scale, added = (
        T.reinterpret(rescaling[T.ramp(block * FLOAT_LANES + row * BLOCK, 1, BLOCK)], dtype=f"float32x{BLOCK}")
        for row in range(2)
    )
    taken = T.reinterpret(sums, dtype=f"float32x{BLOCK}")
    total = intrinsic("llvm.fma", taken, scale, added, dtype=f"float32x{BLOCK}")
    return T.reinterpret(total, dtype=f"int32x{BLOCK}") - T.broadcast(T.int32(BITS), BLOCK)


def narrowed(blocks: Sequence[Any], words: int, output: Output) -> Any:
    """int8 of int32x16s, as many of them as four vectors of so many words hold, clamped, one after the other."""
    size = BLOCK * len(blocks)
    vectors = [half for one in blocks for half in ([one] if words == BLOCK else halves(one, words))]
    pairs = [saturated(vectors[place], vectors[place + 1], words) for place in (0, 2)]
    quads = T.reinterpret(saturated(pairs[0], pairs[1], words), dtype=f"int32x{words}")
    # Vectors are packed 128 bits by 128 bits: each of these holds a word of four bytes of each of the four vectors.
    lanes = words // 4
    result = shuffled([quads], [lane * 4 + vector for vector in range(4) for lane in range(lanes)])
    return clamped(T.reinterpret(result, dtype=f"int8x{size}"), output, size)


def clamped(mixed: Any, output: Output, size: int) -> Any:
    limits = np.iinfo(np.int8)
    if output.low > limits.min:
        mixed = T.max(mixed, spread(tirx.const(output.low, "int8"), size))
    if output.high < limits.max:
        mixed = T.min(mixed, spread(tirx.const(output.high, "int8"), size))
    return mixed


def saturated(a: Any, b: Any, words: int) -> Any:
    """Two vectors of int32 or int16 as one of half the width, saturated, 128 bits by 128 bits."""
    source = str(a.ty)
    size, name = (2, "packssdw") if source.startswith("int32") else (4, "packsswb")
    family = "avx512" if words == BLOCK else "avx2"
    suffix = ".512" if words == BLOCK else ""
    return intrinsic(f"llvm.x86.{family}.{name}{suffix}", a, b, dtype=f"int{32 // size}x{words * size}")
