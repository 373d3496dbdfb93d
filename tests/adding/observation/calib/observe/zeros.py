"""How many elements of a tensor are exactly 0: what a Relu leaves of its input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bevel.calib.observe.base import Observation, first_not_finite


@dataclass(frozen=True)
class Zeros(Observation):
    zeros: int
    count: int

    @staticmethod
    def of(values: NDArray[np.float32]) -> Zeros:
        if not np.isfinite(values).all():
            raise first_not_finite(values)
        return Zeros(int((values == 0).sum()), values.size)

    def merge(self, other: Zeros) -> Zeros:
        return Zeros(self.zeros + other.zeros, self.count + other.count)

    @property
    def share(self) -> float:
        return self.zeros / max(self.count, 1)
