"""Activations in a format of uneven steps, in two stairs: an int8 quantizer, then a table of its 256 codes.

A device requantizes to int8 as always and looks up, for each code, the format's nearest value. The int8 steps are
finer than the format's where the range leaves room. Where it leaves little, their number for one unit of the format
decides how far the borders between int8 steps lie from the borders between the format's values, so that number is
searched together with the scale, by the error of both roundings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.format import INT8
from bevel.calib.formats.scheme import INT8_ACTIVATIONS, Scheme, TensorQuant
from bevel.calib.observe.statistics import Statistics

FRACTIONS = tuple(float(one) for one in np.geomspace(0.05, 1.2, 48))  # of the scale that clips nothing
FINE_FACTORS = tuple(float(one) for one in np.linspace(0.95, 1.05, 9))
FINENESS = (1.0, 2.0, 3.0, 5.0, 7.0, 9.0)  # int8 steps a unit; an odd number puts the borders of unit steps right
PARTS = 4  # points a bin of the histogram is judged by
ROOM = 255

SMALLEST = float(np.finfo(np.float32).smallest_normal)


@dataclass(frozen=True, eq=False)
class Stairs:
    """first: the int8 quantizer. table: int8 [256], for its codes from -128 up, the steps of `last`."""

    first: TensorQuant
    table: NDArray[np.int8]
    last: TensorQuant


def stairs(statistics: Statistics, scheme: Scheme) -> Stairs:
    """The two quantizers with the least expected squared error. A tensor that was always zero gets scale 1.

    Raises ValueError for statistics of no value and for a scheme of an integer format.
    """
    if scheme.levels is None:
        raise ValueError(f"{scheme.format.name} has equal steps: it needs one quantizer")
    if statistics.count == 0:
        raise ValueError("a tensor of which no value was seen has no range")
    low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
    largest = max(-low, high)
    if largest == 0:
        return made(1.0, 1.0, low, high, scheme)
    points, masses = statistics.histogram.points(PARTS)
    full = largest / scheme.high
    best, least = made(full, 1.0, low, high, scheme), np.inf
    for fractions in (FRACTIONS, FINE_FACTORS):
        around = full if fractions is FRACTIONS else float(best.last.scale)
        for fraction in fractions:
            for fineness in finenesses(around * fraction, low, high, scheme):
                candidate = made(around * fraction, fineness, low, high, scheme)
                error = float(np.square(climbed(points, candidate) - points) @ masses)
                if error < least:
                    best, least = candidate, error
    return best


def finenesses(scale: float, low: float, high: float, scheme: Scheme) -> tuple[float, ...]:
    """How many int8 steps a unit of `scheme` may have, so that all of what it represents of [low, high] fits."""
    below, above = reach(scale, low, high, scheme)
    most = ROOM / (above - below)
    return (*(one for one in FINENESS if one <= most), most)


def reach(scale: float, low: float, high: float, scheme: Scheme) -> tuple[float, float]:
    """The interval of steps that holds [low, high] as far as `scheme` does; one unit at least."""
    below = max(low / scale, float(scheme.low))
    return below, max(min(high / scale, float(scheme.high)), below + 1.0)


def made(scale: float, fineness: float, low: float, high: float, scheme: Scheme) -> Stairs:
    """Stairs whose unit is `scale`, with `fineness` int8 steps a unit."""
    last = TensorQuant(scheme, np.asarray(np.float32(max(scale, SMALLEST))), np.zeros((), np.int8))
    below, above = reach(scale, low, high, scheme)
    # The zero point puts the interval in the middle of int8; real 0 keeps its code.
    zero_point = int(np.clip(np.rint(-0.5 - (below + above) / 2 * fineness), INT8.low, INT8.high))
    step = np.float32(max(float(last.scale) / fineness, SMALLEST))
    first = TensorQuant(INT8_ACTIVATIONS, np.asarray(step), np.array(zero_point, np.int8))
    reals = (np.arange(INT8.low, INT8.high + 1) - zero_point) * np.float64(step)
    return Stairs(first, last.quantize(reals), last)


def climbed(x: NDArray[np.float64], candidate: Stairs) -> NDArray[np.float64]:
    """Reals after both roundings."""
    first = candidate.first
    codes = np.clip(np.rint(x / float(first.scale)) + int(first.zero_point), INT8.low, INT8.high).astype(np.intp)
    reals: NDArray[np.float64] = candidate.table[codes - INT8.low] * float(candidate.last.scale)
    return reals
