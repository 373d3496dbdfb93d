"""The extremes of tensors over a data set, infinite ones included, and how low the largest value of a row gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bevel.calib.observe.base import Observation

BARRED = -1000.0  # a lowest value from here on down bars elements; no sum of products gets there beside it


@dataclass(frozen=True)
class Extremes(Observation):
    """lowest_peak: the least of the largest values of rows, those aside that lie wholly where elements of their sample
    are barred.

    Infinite where there was none. Everything is NaN where a NaN was seen.
    """

    low: float = np.inf
    high: float = -np.inf
    lowest_peak: float = np.inf

    @staticmethod
    def of(values: NDArray[np.float32], axis: int | None) -> Extremes:
        """Of one array, infinite values and NaN included; rows run along `axis`, and None is no rows."""
        if values.size == 0:
            return Extremes()
        low, high = float(values.min()), float(values.max())
        if axis is None or np.isnan(low):
            return Extremes(low, high, low if np.isnan(low) else np.inf)
        peaks = values.max(axis=axis)
        lowest = lowest_of_samples(values, axis)
        within = peaks[(lowest > BARRED) | (peaks > lowest / 2)]
        return Extremes(low, high, float(within.min(initial=np.inf)))

    def merge(self, other: Extremes) -> Extremes:
        return Extremes(
            float(np.minimum(self.low, other.low)),
            float(np.maximum(self.high, other.high)),
            float(np.minimum(self.lowest_peak, other.lowest_peak)),
        )


def lowest_of_samples(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The lowest value of each sample, to be broadcast to its rows; of all together where rows run along samples."""
    if values.ndim < 2 or axis % values.ndim == 0:
        return np.asarray(values.min())
    lowest: NDArray[np.float32] = values.reshape(len(values), -1).min(axis=1)
    return lowest.reshape(-1, *[1] * (values.ndim - 2))
