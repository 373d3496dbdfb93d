"""What calibration remembers of one tensor: what was asked for, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from bevel.calib.observe.base import Observation, Want
from bevel.calib.observe.histogram import Histogram
from bevel.calib.observe.mean import Mean

RANGE = Want(Histogram)

Seen = TypeVar("Seen", bound=Observation)


@dataclass(frozen=True, eq=False)
class Statistics:
    """The observations of one tensor, by what asked for them. Raises KeyError for one that nobody asked for."""

    seen: Mapping[Want, Observation]

    @staticmethod
    def of(array: NDArray[Any], wants: Iterable[Want] = (RANGE,)) -> Statistics:
        """Of one float array whose axis 0 counts samples, and of none beside it.

        Raises NotFiniteError for NaN or infinity, and numpy's AxisError for an axis the array does not have.
        """
        return Statistics({want: want.of(array) for want in wants})

    @staticmethod
    def empty() -> Statistics:
        """The range of nothing."""
        return Statistics({RANGE: Histogram.empty()})

    def merge(self, other: Statistics) -> Statistics:
        """The statistics of both data sets together, of which the same was asked for."""
        if self.seen.keys() != other.seen.keys():
            raise ValueError("statistics of which different things were asked for do not merge")
        return Statistics({want: one.merge(other.seen[want]) for want, one in self.seen.items()})

    def one(self, kind: type[Seen], *args: Any) -> Seen:
        """The observation of this kind, with these arguments."""
        found = [one for want, one in self.seen.items() if want.kind is kind and want.args == args]
        if not found:
            raise KeyError(f"nobody asked for {kind.__name__}{args} of this tensor")
        return cast(Seen, found[0])

    @property
    def histogram(self) -> Histogram:
        return self.one(Histogram)

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

    def channel_mean(self, axis: int) -> NDArray[np.float64]:
        """The mean of each channel along `axis` over samples and positions, exact to one rounding: [channels]."""
        return self.one(Mean, axis).values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Statistics) and dict(self.seen) == dict(other.seen)

    __hash__ = None  # type: ignore[assignment]
