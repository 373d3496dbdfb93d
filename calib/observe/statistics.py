"""What calibration remembers of one tensor: bounded, mergeable, and the same however the samples were grouped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import NDArray

from bevel.calib.arithmetic.exact_sum import ExactSum
from bevel.calib.observe.histogram import Histogram


class NotFiniteError(ValueError):
    """A tensor holds NaN or infinity; `row` is its first index along axis 0 (0 for a scalar), `value` what it holds."""

    def __init__(self, row: int, value: float) -> None:
        super().__init__(f"row {row} holds {value}")
        self.row, self.value = row, value


@dataclass(frozen=True, eq=False)
class Statistics:
    """The values one tensor took: their histogram and, for each channel, their sum.

    sums: by the axis that counts channels, because two readers of one tensor may mean different ones. The size is
    bounded by the histogram's bins and the number of channels, not by the number of samples.
    """

    histogram: Histogram
    sums: Mapping[int, ExactSum] = field(default_factory=dict)  # empty until a value was seen

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Statistics) or self.histogram != other.histogram:
            return False
        if self.sums.keys() != other.sums.keys():
            return False
        return all(np.array_equal(one.digits, other.sums[axis].digits) for axis, one in self.sums.items())

    __hash__ = None  # type: ignore[assignment]

    @staticmethod
    def of(array: NDArray[Any], channel_axes: Sequence[int] = (1,)) -> Statistics:
        """Of one float array whose axis 0 counts samples and each of whose `channel_axes` may count channels.

        Arrays of rank 0 and 1, and channels on axis 0, count as one channel. Each sample is summed by itself in
        float64, always over the same shape, and the sums are added exactly, so a batch equals its samples merged.
        Raises NotFiniteError for NaN or infinity, and numpy's AxisError for an axis the array does not have.
        """
        values = np.ascontiguousarray(array, np.float32)
        if values.size == 0:
            return Statistics.empty()
        low, high = float(values.min()), float(values.max())
        if not np.isfinite(low) or not np.isfinite(high):  # min and max hand NaN on
            raise first_not_finite(values)
        sums = {axis: ExactSum.of(sample_sums(values, axis)) for axis in channel_axes}
        return Statistics(Histogram.of(values, low, high), sums)

    @staticmethod
    def empty() -> Statistics:
        return Statistics(Histogram.empty())

    def merge(self, other: Statistics) -> Statistics:
        """The statistics of both data sets together. Raises ValueError where the numbers of channels differ."""
        if not self.count or not other.count:
            return self if self.count else other
        if self.channels != other.channels:
            raise ValueError(f"tensors of {self.channels} and {other.channels} channels do not merge")
        sums = {axis: one.merge(other.sums[axis]) for axis, one in self.sums.items()}
        return Statistics(self.histogram.merge(other.histogram), sums)

    @property
    def count(self) -> int:
        """Elements seen."""
        return self.histogram.count

    @property
    def low(self) -> float:
        return self.histogram.low

    @property
    def high(self) -> float:
        return self.histogram.high

    @property
    def always_zero(self) -> bool:
        return self.low == self.high == 0.0

    @property
    def channels(self) -> dict[int, int]:
        """How many channels each axis counts."""
        return {axis: one.digits.shape[1] for axis, one in self.sums.items()}

    def channel_mean(self, axis: int = 1, without: Statistics | None = None) -> NDArray[np.float64]:
        """The mean of each channel along `axis` over samples and positions, exact to one rounding: [channels].

        without: statistics of some of the samples, which are to be left out; not of all. Raises KeyError for an axis
        along which no sums were kept.
        """
        if not self.count:
            return np.zeros(0, np.float64)
        if without is None or not without.count:
            return self.sums[axis].divided(self.count // self.channels[axis])
        others = self.sums[axis].less(without.sums[axis])
        return others.divided((self.count - without.count) // self.channels[axis])


def sample_sums(values: NDArray[np.float32], channel_axis: int) -> NDArray[np.float64]:
    """The sum of each sample (axis 0) in each channel, in float64: [samples, channels].

    Samples are summed one by one: numpy does not promise that the order of a sum is free of the axes that remain.
    """
    if values.ndim < 2:
        return values.reshape(-1, 1).astype(np.float64)
    axis = normalize_axis_index(channel_axis, values.ndim)
    others = tuple(place - 1 for place in range(1, values.ndim) if place != axis)
    if not others:
        return values.astype(np.float64)
    return np.stack([np.asarray(sample.sum(axis=others, dtype=np.float64)).reshape(-1) for sample in values])


def first_not_finite(values: NDArray[np.float32]) -> NotFiniteError:
    rows = values.reshape(values.shape[0] if values.ndim else 1, -1)
    row, place = (int(index[0]) for index in np.nonzero(~np.isfinite(rows)))
    return NotFiniteError(row, float(rows[row, place]))
