"""The range of a tensor: a histogram whose bins depend on the extremes only, so that merging is exact in any order.

Bin k counts values in [k * 2**exponent, (k + 1) * 2**exponent). The exponent is the smallest that covers zero and all
values with at most `MAX_BINS` bins. It can only grow when values are added, and then each bin becomes one part of a
wider one: floor(floor(x / a) / b) == floor(x / (a * b)). Any split of the data therefore merges to the same object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor, frexp, ldexp
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.observe.base import Observation, first_not_finite

MAX_BINS = 2048
TOGETHER = 2**14  # values that are sorted into bins at a time: what is made of them on the way stays in the cache
MIN_EXPONENT = -120  # float32 can still multiply by 2**120; all narrower tensors share this bin width


@dataclass(frozen=True, eq=False)
class Histogram(Observation):
    """low and high: the extremes of all values (inf and -inf of none). zeros: values equal to 0, in no bin.

    counts[i] belongs to bin `first` + i; the bins run from that of min(low, 0) to that of max(high, 0): [<= MAX_BINS].
    """

    low: float
    high: float
    zeros: int
    exponent: int
    first: int
    counts: NDArray[np.int64]

    any_rows: ClassVar[bool] = True

    @staticmethod
    def of(values: NDArray[np.float32]) -> Histogram:
        """Of float32 `values` of any shape."""
        if values.size == 0:
            return Histogram.empty()
        low, high = float(values.min()), float(values.max())
        if not np.isfinite(low) or not np.isfinite(high):  # min and max hand NaN on
            raise first_not_finite(values)
        exponent, first, length = layout(low, high)
        counts = np.zeros(length, np.int64)
        # Scaling up by a power of two is exact in float32; scaling down could flush small negatives to zero.
        dtype = np.dtype(np.float32 if exponent <= 0 else np.float64)
        for part, floats, places in in_parts(values.reshape(-1), dtype):
            np.multiply(part, dtype.type(ldexp(1.0, -exponent)), out=floats)
            np.subtract(np.floor(floats, out=floats), dtype.type(first), out=floats)
            np.copyto(places, floats, casting="unsafe")
            counts += np.bincount(places, minlength=length)
        zeros = int(values.size - np.count_nonzero(values != 0))  # twice as fast as counting floats
        counts[-first] -= zeros
        return Histogram(low, high, zeros, exponent, first, counts)

    @staticmethod
    def empty() -> Histogram:
        return Histogram(np.inf, -np.inf, 0, MIN_EXPONENT, 0, np.zeros(1, np.int64))

    def merge(self, other: Histogram) -> Histogram:
        """The histogram of both data sets together."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        exponent, first, length = layout(low, high)
        counts = np.zeros(length, np.int64)
        for part in (self, other):
            start, coarse = part.coarsened(exponent)
            counts[start - first : start - first + len(coarse)] += coarse
        return Histogram(low, high, self.zeros + other.zeros, exponent, first, counts)

    @property
    def count(self) -> int:
        """Values counted, zeros included."""
        return int(self.counts.sum()) + self.zeros

    @property
    def edges(self) -> NDArray[np.float64]:
        """Where the bins end: [len(counts) + 1], ascending, the outermost drawn in to the data's own extremes.

        The last bin has no width where `high` is a multiple of the bin width: it counts that value alone.
        """
        edges = np.ldexp(np.arange(self.first, self.first + len(self.counts) + 1, dtype=np.float64), self.exponent)
        return np.clip(edges, min(self.low, 0.0), max(self.high, 0.0))

    def points(self, parts: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where values lie, and how many at each point: zero, and `parts` points spread over each bin that has any."""
        edges, filled = self.edges, self.counts > 0
        places = (np.arange(parts) + 0.5) / parts
        points = edges[:-1, np.newaxis] + np.diff(edges)[:, np.newaxis] * places
        masses = np.repeat(self.counts[filled] / parts, parts)
        return np.append(points[filled].ravel(), 0.0), np.append(masses, float(self.zeros))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Histogram)
            and (self.low, self.high, self.zeros) == (other.low, other.high, other.zeros)
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]

    def coarsened(self, exponent: int) -> tuple[int, NDArray[np.int64]]:
        """(first bin, counts) at bins of width 2**exponent, which are not narrower than these."""
        if exponent == self.exponent:
            return self.first, self.counts
        bins = np.arange(self.first, self.first + len(self.counts)) >> min(exponent - self.exponent, 62)
        starts = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
        return int(bins[0]), np.add.reduceat(self.counts, starts)


def in_parts(
    values: NDArray[np.float32], dtype: np.dtype[Any]
) -> Iterator[tuple[NDArray[np.float32], NDArray[Any], NDArray[np.intp]]]:
    """Parts of `values`, each with room for floats of `dtype` and for places, which the next part takes again."""
    count = min(len(values), TOGETHER)
    floats, places = np.empty(count, dtype), np.empty(count, np.intp)
    for begin in range(0, len(values), TOGETHER):
        part = values[begin : begin + TOGETHER]
        yield part, floats[: len(part)], places[: len(part)]


def layout(low: float, high: float) -> tuple[int, int, int]:
    """(exponent, first bin, number of bins) of the histogram that covers [min(low, 0), max(high, 0)]."""
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return MIN_EXPONENT, 0, 1
    # A span of 2**(e - 1) or more in bins of 2**(e - 12) is more than MAX_BINS: start there and widen until it fits.
    exponent = max(frexp(high - low)[1] - MAX_BINS.bit_length(), MIN_EXPONENT)
    while (bins := floor(ldexp(high, -exponent)) - floor(ldexp(low, -exponent)) + 1) > MAX_BINS:
        exponent += 1
    return exponent, floor(ldexp(low, -exponent)), bins
