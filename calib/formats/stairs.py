"""Activations in a format of uneven steps, in two stairs: an int8 quantizer, then a table of its 256 codes.

A device requantizes to int8 as always and looks up, for each code, the format's nearest value. The int8 steps are
finer than the format's where the range leaves room. Where it leaves little, their number for one unit of the format
decides how far the borders between int8 steps lie from the borders between the format's values, so that number is
searched together with the scale, by the error of both roundings.

What has one sign (shares, what a ReLU leaves) uses half of a format that is even around zero. Real 0 may then lie where
the format's dense steps begin, on the other side: all of these are used, and those beyond, which are denser by it.
Source: Zhao et al. 2025, "Pioneering 4-Bit FP Quantization for Diffusion Models: Mixup-Sign Quantization and
Timestep-Aware Fine-Tuning", section 3 (a zero point for minifloats of activations of about one sign; there unsigned).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.float_format import FloatFormat
from bevel.calib.formats.format import INT8
from bevel.calib.formats.scheme import INT8_ACTIVATIONS, Scheme, TensorQuant
from bevel.calib.observe.statistics import Statistics

FRACTIONS = tuple(float(one) for one in np.geomspace(0.05, 1.2, 48))  # of the scale that clips nothing
FINE_FACTORS = tuple(float(one) for one in np.linspace(0.95, 1.05, 9))
FINENESS = (1.0, 2.0, 3.0, 5.0, 7.0, 9.0)  # int8 steps a unit; an odd number puts the borders of unit steps right
PARTS = 4  # points a bin of the histogram is judged by
ROOM = 255
SKEWED = 0.25  # of the larger end: as far as the other may reach where reals have about one sign

SMALLEST = float(np.finfo(np.float32).smallest_normal)


@dataclass(frozen=True, eq=False)
class Stairs:
    """first: the int8 quantizer. table: int8 [256], for its codes from -128 up, the steps of `last`."""

    first: TensorQuant
    table: NDArray[np.int8]
    last: TensorQuant


def stairs(statistics: Statistics, scheme: Scheme, clipping: float = 1.0, factor: float = 1.0) -> Stairs:
    """The two quantizers with the least expected squared error. A tensor that was always zero gets scale 1.

    clipping: what the squared error of a value beyond the format's ends counts, where one between them counts 1;
    factor: by which the scale of least error is multiplied in the end. Raises ValueError for statistics of no value and
    for a scheme of an integer format.
    """
    if scheme.levels is None:
        raise ValueError(f"{scheme.format.name} has equal steps: it needs one quantizer")
    if statistics.count == 0:
        raise ValueError("a tensor of which no value was seen has no range")
    low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
    if low == high:
        return made(1.0, 1.0, low, high, scheme)
    points, masses = statistics.histogram.points(PARTS)

    def best(factors: Iterable[float], zero_points: Iterable[int], around: float | None = None) -> Stairs:
        """around: the scale that factors are of; None: that which clips nothing, with each zero point."""
        each = (
            made(scale, one, low, high, scheme, zero_point)
            for zero_point in zero_points
            for scale in ((around or full(low, high, scheme, zero_point)) * factor for factor in factors)
            for one in finenesses(scale, low, high, scheme, zero_point)
        )
        return min(each, key=lambda one: float(masses @ weighed_error(points, one, clipping)))

    found = best(FRACTIONS, (0, one_sided(low, high, scheme)))
    for factors in (FINE_FACTORS, (factor,)):
        if factors != (1.0,):
            found = best(factors, (int(found.last.zero_point),), float(found.last.scale))
    return found


def full(low: float, high: float, scheme: Scheme, zero_point: int) -> float:
    """The scale that clips nothing."""
    return max(low / (scheme.low - zero_point), high / (scheme.high - zero_point))


def one_sided(low: float, high: float, scheme: Scheme) -> int:
    """The zero point with which the dense steps on both sides of a minifloat's zero hold reals of one sign; 0 where
    reals have both, and of powers of two, which would be none."""
    if not isinstance(scheme.format, FloatFormat) or scheme.levels is None:
        return 0
    if min(-low, high) > SKEWED * max(-low, high):
        return 0
    steps = scheme.levels.array[scheme.levels.array >= 0]
    uneven = np.flatnonzero(np.diff(steps) > 1)
    edge = int(steps[uneven[0]]) if uneven.size else 0
    return -edge if high >= -low else edge


def weighed_error(x: NDArray[np.float64], candidate: Stairs, clipping: float) -> NDArray[np.float64]:
    """Squared, of each value; `clipping` times of those beyond the ends."""
    top = float(candidate.last.scale) * candidate.last.scheme.high
    error: NDArray[np.float64] = np.square(climbed(x, candidate) - x)
    return error if clipping == 1 else np.where(np.abs(x) > top, clipping * error, error)


def finenesses(scale: float, low: float, high: float, scheme: Scheme, zero_point: int = 0) -> tuple[float, ...]:
    """How many int8 steps a unit of `scheme` may have, so that all of what it represents of [low, high] fits."""
    below, above = reach(scale, low, high, scheme, zero_point)
    most = ROOM / (above - below)
    return (*(one for one in FINENESS if one <= most), most)


def reach(scale: float, low: float, high: float, scheme: Scheme, zero_point: int = 0) -> tuple[float, float]:
    """The interval of steps around real 0 that holds [low, high] as far as `scheme` does; one unit at least."""
    below = max(low / scale, float(scheme.low - zero_point))
    return below, max(min(high / scale, float(scheme.high - zero_point)), below + 1.0)


def made(scale: float, fineness: float, low: float, high: float, scheme: Scheme, zero_point: int = 0) -> Stairs:
    """Stairs whose unit is `scale`, with `fineness` int8 steps a unit, and real 0 at `zero_point`."""
    unshifted = TensorQuant(scheme, np.asarray(np.float32(max(scale, SMALLEST))), np.zeros((), np.int8))
    shifted = scheme if zero_point == 0 else replace(scheme, symmetric=False)
    last = TensorQuant(shifted, unshifted.scale, np.array(zero_point, np.int8))
    below, above = reach(scale, low, high, scheme, zero_point)
    # The int8 zero point puts the interval in the middle of int8; real 0 keeps its code.
    first_zero = int(np.clip(np.rint(-0.5 - (below + above) / 2 * fineness), INT8.low, INT8.high))
    step = np.float32(max(float(last.scale) / fineness, SMALLEST))
    first = TensorQuant(INT8_ACTIVATIONS, np.asarray(step), np.array(first_zero, np.int8))
    reals = first.dequantize(np.arange(INT8.low, INT8.high + 1, dtype=np.int8))
    # What is added is a float: a format without zero points (QONNX) makes the same table of sums.
    return Stairs(first, unshifted.quantize(reals + np.float32(zero_point) * last.scale), last)


def climbed(x: NDArray[np.float64], candidate: Stairs) -> NDArray[np.float64]:
    """Reals after both roundings."""
    first = candidate.first
    codes = np.clip(np.rint(x / float(first.scale)) + int(first.zero_point), INT8.low, INT8.high).astype(np.intp)
    steps = candidate.table.astype(np.float64) - int(candidate.last.zero_point)
    reals: NDArray[np.float64] = steps[codes - INT8.low] * float(candidate.last.scale)
    return reals
