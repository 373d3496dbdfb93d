"""The mean of each channel of a tensor, over samples and positions: what bias correction multiplies errors with.

Each sample is summed by itself in float64, always over the same shape, and the sums are added exactly
(`bevel.calib.arithmetic.exact_sum`), so a batch equals its samples merged; and samples can be taken out again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import NDArray

from bevel.calib.arithmetic.exact_sum import ExactSum
from bevel.calib.observe.base import Observation, first_not_finite


@dataclass(frozen=True, eq=False)
class Mean(Observation):
    """sums: one a channel; count: how many elements each is of."""

    sums: ExactSum
    count: int
    any_rows: ClassVar[bool] = True

    @staticmethod
    def of(values: NDArray[np.float32], axis: int) -> Mean:
        """Along `axis`; arrays of rank 0 and 1, and channels on axis 0, count as one channel.

        Raises numpy's AxisError for an axis that the array does not have.
        """
        sums = sample_sums(values, axis)
        if not np.isfinite(sums).all():  # no sum of finite float32 leaves float64
            raise first_not_finite(values)
        return Mean(ExactSum.of(sums), values.size // max(sums.shape[1], 1))

    def merge(self, other: Mean) -> Mean:
        if self.channels != other.channels:
            raise ValueError(f"means of {self.channels} and {other.channels} channels do not merge")
        return Mean(self.sums.merge(other.sums), self.count + other.count)

    @property
    def channels(self) -> int:
        return int(self.sums.digits.shape[1])

    @property
    def values(self) -> NDArray[np.float64]:
        """Exact to one rounding: [channels]; empty where nothing was seen."""
        return self.sums.divided(self.count) if self.count else np.zeros(0)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Mean)
            and self.count == other.count
            and np.array_equal(self.sums.digits, other.sums.digits)
        )

    __hash__ = None  # type: ignore[assignment]


def sample_sums(values: NDArray[np.float32], channel_axis: int) -> NDArray[np.float64]:
    """The sum of each sample (axis 0) in each channel, in float64: [samples, channels].

    Samples are summed one by one: numpy does not promise that the order of a sum is free of the axes that remain.
    """
    if values.ndim < 2:
        return values.reshape(-1, 1).astype(np.float64)
    axis = normalize_axis_index(channel_axis, values.ndim)
    others = tuple(place - 1 for place in range(1, values.ndim) if place != axis)
    channels = values.shape[axis] if axis else 1
    if not others:
        return values.astype(np.float64)
    sums = [np.asarray(sample.sum(axis=others, dtype=np.float64)).reshape(-1) for sample in values]
    return np.stack(sums) if sums else np.zeros((0, channels))
