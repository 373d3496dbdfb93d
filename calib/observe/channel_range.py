"""The extremes of each channel: what smoothing and equalization divide by, and what a scale a channel would cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bevel.calib.observe.base import Observation, first_not_finite


@dataclass(frozen=True, eq=False)
class ChannelRange(Observation):
    """low, high: float32 [channels], inf and -inf where nothing was seen."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]

    @staticmethod
    def of(values: NDArray[np.float32], axis: int) -> ChannelRange:
        """Along `axis`. Raises numpy's AxisError for an axis that the array does not have."""
        channels = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        low, high = channels.min(axis=1, initial=np.inf), channels.max(axis=1, initial=-np.inf)
        if values.size and not (np.isfinite(low) & np.isfinite(high)).all():
            raise first_not_finite(values)
        return ChannelRange(low, high)

    def merge(self, other: ChannelRange) -> ChannelRange:
        if self.low.shape != other.low.shape:
            raise ValueError(f"ranges of {self.low.size} and {other.low.size} channels do not merge")
        return ChannelRange(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    @property
    def largest(self) -> NDArray[np.float32]:
        """The largest magnitude: [channels]."""
        return np.maximum(-self.low, self.high)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ChannelRange)
            and np.array_equal(self.low, other.low)
            and np.array_equal(self.high, other.high)
        )

    __hash__ = None  # type: ignore[assignment]
