"""Adam: steps along a slope in units of what it was lately. Source: Kingma and Ba 2015, "Adam: A Method for Stochastic
Optimization", algorithm 1 with its defaults."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FADING, FADING_SQUARES, SMALLEST = 0.9, 0.999, 1e-8

Reals = NDArray[np.float64]


@dataclass
class Adam:
    """rate: how far a step goes, about. Keeps means of the slopes that it was given, and of their squares."""

    rate: float
    count: int = 0
    mean: Reals | float = 0.0
    squares: Reals | float = 0.0

    def change(self, slope: Reals) -> Reals:
        """What is to be taken off the parameters whose slope that is."""
        self.count += 1
        self.mean = FADING * self.mean + (1 - FADING) * slope
        self.squares = FADING_SQUARES * self.squares + (1 - FADING_SQUARES) * slope**2
        scale = np.sqrt(self.squares / (1 - FADING_SQUARES**self.count)) + SMALLEST
        found: Reals = self.rate * self.mean / (1 - FADING**self.count) / scale
        return found
