"""From statistics to scales: which interval of reals the codes of a tensor cover.

Every method chooses (low, high) with low <= 0 <= high. Clipping rare large values buys a finer step for all others;
the methods differ in how they weigh the two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import ldexp
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.scheme import PerTensor, Scheme, TensorQuant
from bevel.calib.observe.histogram import Histogram
from bevel.calib.observe.statistics import Statistics

Range = tuple[float, float]
Reals = NDArray[np.float64]

SMALLEST_SCALE = float(np.finfo(np.float32).smallest_normal)  # below it, float32 division loses its precision


@dataclass(frozen=True)
class RangeMethod(ABC):
    """A way to choose the interval; fields are its options."""

    name: ClassVar[str]

    @abstractmethod
    def choose(self, statistics: Statistics, scheme: Scheme) -> Range:
        """(low, high), low <= 0 <= high, for a tensor of which at least one value was seen."""


@dataclass(frozen=True)
class MinMax(RangeMethod):
    """The extremes that were seen: nothing is clipped."""

    name: ClassVar[str] = "minmax"

    def choose(self, statistics: Statistics, scheme: Scheme) -> Range:
        return min(statistics.low, 0.0), max(statistics.high, 0.0)


@dataclass(frozen=True)
class Percentile(RangeMethod):
    """The values below which (100 - percent) % and `percent` % of all values lie, interpolated within bins."""

    percent: float = 99.99
    name: ClassVar[str] = "percentile"

    def __post_init__(self) -> None:
        if not 50 < self.percent <= 100:
            raise ValueError(f"a percentile lies above 50 and up to 100, not at {self.percent}")

    def choose(self, statistics: Statistics, scheme: Scheme) -> Range:
        histogram = statistics.histogram
        counts = histogram.counts.astype(np.float64)
        counts[-histogram.first] += histogram.zeros
        below = np.concatenate([[0.0], np.cumsum(counts)])
        ranks = below[-1] * np.array([1 - self.percent / 100, self.percent / 100])
        low, high = np.interp(ranks, below, histogram.edges)
        return min(float(low), 0.0), max(float(high), 0.0)


@dataclass(frozen=True)
class Mse(RangeMethod):
    """The interval with the least expected squared error over the histogram, both ends searched.

    The criterion of Choukroun et al. 2019, "Low-bit Quantization of Neural Networks for Efficient Inference",
    section 3. The ends are searched on a coarse grid of fractions of the extremes, then on finer grids around the best.
    Each candidate is judged by the scale and zero point it would get, and the extremes themselves are one of them.

    clipping: what the squared error of a value beyond the ends counts, where one between them counts 1.
    """

    clipping: float = 1.0
    name: ClassVar[str] = "mse"

    COARSE: ClassVar[Reals] = np.array([1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2, 0.12, 0.07, 0.04])
    FINE: ClassVar[tuple[Reals, ...]] = (np.linspace(0.84, 1.2, 7), np.linspace(0.96, 1.04, 5))

    def choose(self, statistics: Statistics, scheme: Scheme) -> Range:
        low, high = MinMax().choose(statistics, scheme)
        if low == high:
            return low, high
        profile = profile_of(statistics.histogram)
        coarse = profile_of(merged_bins(statistics.histogram, 4))
        lows, highs = best_of(coarse, low * self.COARSE, high * self.COARSE, scheme, self.clipping)
        for factors in self.FINE:
            around = np.maximum(lows * factors, low), np.minimum(highs * factors, high)
            lows, highs = best_of(profile, *around, scheme, self.clipping)
        candidates = np.array([low, lows]), np.array([high, highs])
        errors = expected_error(profile, *candidates, scheme, self.clipping)
        return (float(lows), float(highs)) if errors[1] < errors[0] else (low, high)


@dataclass(frozen=True)
class Entropy(RangeMethod):
    """The interval whose quantized distribution loses least information, by Kullback-Leibler divergence.

    Migacz 2017, "8-bit Inference with TensorRT" (GTC S7310), with the interval clipped to the extremes that were seen,
    so that one-sided tensors use all codes. Exact zeros are left out: every interval represents them. Formats with
    more codes than the histogram has bins lose nothing that it can see, and keep the extremes.

    The divergence alone goes wrong where a few values dominate (channels that are nearly constant): it keeps them apart
    at the price of clipping a tenth of the tensor. `clipped` bounds that share; the bound is ours, not Migacz's.
    """

    thresholds: int = 64
    clipped: float = 0.001
    name: ClassVar[str] = "entropy"

    def choose(self, statistics: Statistics, scheme: Scheme) -> Range:
        low, high = MinMax().choose(statistics, scheme)
        histogram, levels = statistics.histogram, scheme.high - scheme.low + 1
        below, above = -histogram.first, len(histogram.counts) + histogram.first  # bins on each side of zero
        reach = max(below, above)
        fewest = -(-levels * reach // len(histogram.counts))  # the shortest reach with a bin for every code
        best, chosen = np.inf, reach
        for bins in np.unique(np.linspace(fewest, reach, self.thresholds).round().astype(int)):
            first, last = max(0, below - bins), below + min(above, bins)
            if histogram.counts[first:last].sum() < (1 - self.clipped) * histogram.count - histogram.zeros:
                continue
            divergence = lost_information(histogram.counts, first, last, levels)
            if divergence < best:
                best, chosen = divergence, int(bins)
        threshold = ldexp(chosen, histogram.exponent)
        return max(low, -threshold), min(high, threshold)


@dataclass(frozen=True)
class ScaledRange(RangeMethod):
    """The interval of another method, both ends times `factor`: beyond 1 it leaves room for what was not seen."""

    method: RangeMethod
    factor: float
    name: ClassVar[str] = "scaled"

    def __post_init__(self) -> None:
        if not 0 < self.factor < np.inf:
            raise ValueError(f"an interval is scaled by a positive factor, not by {self.factor}")

    def choose(self, statistics: Statistics, scheme: Scheme) -> Range:
        low, high = self.method.choose(statistics, scheme)
        return low * self.factor, high * self.factor


METHODS: tuple[type[RangeMethod], ...] = (MinMax, Percentile, Mse, Entropy)
AUTO = "auto"  # `Mse`, scaled for each tensor by what that leaves of the model's results


def range_method(name: str) -> RangeMethod:
    """The range method called `name`, with its default options; of `AUTO` that before it is scaled. Raises ValueError
    for an unknown name."""
    name = Mse.name if name == AUTO else name
    for candidate in METHODS:
        if candidate.name == name:
            return candidate()
    raise ValueError(f"no range method {name!r}; known methods: {', '.join(one.name for one in METHODS)}")


def weight_and_factor(method: RangeMethod) -> tuple[float, float]:
    """What a method says of formats of uneven steps, whose scale is that of least squared error: what is clipped
    counts, and by what that scale is multiplied."""
    if isinstance(method, ScaledRange):
        clipping, factor = weight_and_factor(method.method)
        return clipping, factor * method.factor
    return (method.clipping if isinstance(method, Mse) else 1.0), 1.0


def activation_quant(statistics: Statistics, scheme: Scheme, method: RangeMethod | None = None) -> TensorQuant:
    """Scale and zero point of a per-tensor activation; `method` defaults to Mse.

    Real 0 has a code. A tensor that was always zero gets scale 1: any scale represents it, and this one survives the
    division (`bevel.calib.observe.observe.always_zero` names such tensors). Raises ValueError for statistics of no
    value, for schemes that are not per tensor, and for formats other than integers (`bevel.calib.formats.stairs` is
    about those).
    """
    if not isinstance(scheme.granularity, PerTensor):
        raise ValueError(f"activation statistics give one range, not one for {scheme.granularity}")
    if scheme.levels is not None:
        raise ValueError(f"{scheme.format.name} has no interval of equal steps")
    if statistics.count == 0:
        raise ValueError("a tensor of which no value was seen has no range")
    low, high = (method or Mse()).choose(statistics, scheme)
    return range_quant(low, high, scheme)


def range_quant(low: float, high: float, scheme: Scheme) -> TensorQuant:
    """The per-tensor quantization that covers [min(low, 0), max(high, 0)], but for the half step that 0 may need."""
    scale, zero_point = parameters(np.array(low), np.array(high), scheme)
    return TensorQuant(scheme, scale.astype(np.float32), zero_point.astype(scheme.dtype))


def parameters(low: Reals, high: Reals, scheme: Scheme) -> tuple[Reals, Reals]:
    """Scales (float32 values) and zero points for intervals, element by element."""
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    if scheme.symmetric:
        wanted = np.maximum(high / scheme.high, low / scheme.low if scheme.low else 0.0)
    else:
        wanted = (high - low) / (scheme.high - scheme.low)
    wanted = np.where(low == high, 1.0, np.maximum(wanted, SMALLEST_SCALE))
    scale = wanted.astype(np.float32).astype(np.float64)
    if scheme.symmetric:
        return scale, np.zeros_like(scale)
    return scale, np.clip(np.rint(scheme.low - low / scale), scheme.low, scheme.high)


@dataclass(frozen=True)
class Profile:
    """A histogram as the search reads it: the density's steps at `edges`, and `points` that hold mass alone."""

    edges: Reals
    steps: Reals  # density before an edge minus density after it
    points: Reals
    masses: Reals


def profile_of(histogram: Histogram) -> Profile:
    """Bins as uniform densities, in units of one value; the bin without width as a point. Exact zeros are left out."""
    edges, counts = histogram.edges, histogram.counts.astype(np.float64)
    widths = np.diff(edges)
    narrow = widths <= 0
    density = np.divide(counts, widths, out=np.zeros_like(counts), where=~narrow)
    filled = narrow & (counts > 0)
    return Profile(edges, -np.diff(density, prepend=0.0, append=0.0), edges[:-1][filled], counts[filled])


def merged_bins(histogram: Histogram, doublings: int) -> Histogram:
    """The same histogram with bins 2**doublings as wide."""
    exponent = histogram.exponent + doublings
    first, counts = histogram.coarsened(exponent)
    return replace(histogram, exponent=exponent, first=first, counts=counts)


def best_of(profile: Profile, lows: Reals, highs: Reals, scheme: Scheme, clipping: float = 1.0) -> tuple[Any, Any]:
    """The pair (low, high) out of all lows and highs with the least expected error."""
    pairs_low, pairs_high = (side.ravel() for side in np.meshgrid(np.unique(lows), np.unique(highs)))
    errors = expected_error(profile, pairs_low, pairs_high, scheme, clipping)
    errors[pairs_low == pairs_high] = np.inf
    best = int(np.argmin(errors))
    return pairs_low[best], pairs_high[best]


def expected_error(profile: Profile, low: Reals, high: Reals, scheme: Scheme, clipping: float = 1.0) -> Reals:
    """Summed squared error of quantizing the profile by each interval: [intervals], not divided by the count.

    In units of the scale, with r(t) = t rounded and clamped to the codes, the squared error (t - r)**2 has the integral
    G(t) = r / 12 + (t - r)**3 / 3, clipping included. A density that is constant between edges therefore has the exact
    error sum_i G(edge_i) * (density before edge i - density after it), times scale**3. Beyond the codes at the ends the
    squared error counts `clipping` times.
    """
    scale, zero_point = (side[:, np.newaxis] for side in parameters(low, high, scheme))
    bottom, top = scheme.low - zero_point, scheme.high - zero_point
    t = profile.edges / scale
    r = np.clip(np.rint(t), bottom, top)
    t -= r
    integral = t * t
    integral *= t
    integral *= 4.0
    if clipping != 1:
        half = np.clip(t, -0.5, 0.5)
        integral = np.where(np.abs(t) > 0.5, half + clipping * (integral - half), integral)
    integral += r
    errors: Reals = (integral @ profile.steps) * scale[:, 0] ** 3 / 12
    if profile.points.size:
        t = profile.points / scale
        t -= np.clip(np.rint(t), bottom, top)
        weights = np.where(np.abs(t) > 0.5, clipping, 1.0)
        errors += (weights * t**2 @ profile.masses) * scale[:, 0] ** 2
    return errors


def lost_information(counts: NDArray[np.int64], first: int, last: int, levels: int) -> float:
    """KL divergence of bins [first, last) merged into `levels` codes from those bins with the rest clipped into them.

    Each code's mass is spread evenly over its bins that were not empty, as Migacz does; clipped values join the
    outermost bins that were not empty, where his may land in an empty one and make the divergence infinite.
    """
    kept = counts[first:last].astype(np.float64)
    clipped = kept.copy()
    seen = np.flatnonzero(kept)
    if not seen.size:
        return np.inf
    clipped[seen[0]] += counts[:first].sum()
    clipped[seen[-1]] += counts[last:].sum()
    code = np.arange(last - first) * levels // (last - first)
    mass, filled = np.bincount(code, kept), np.bincount(code, kept > 0)
    spread = (mass[code[seen]] / filled[code[seen]]) / kept.sum()
    true = clipped[seen] / clipped.sum()
    return float(np.sum(true * np.log(true / spread)))
