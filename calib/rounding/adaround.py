"""Rounding each weight up or down, as a relaxation finds that is pressed to either end while it is learned.

    minimize over v:  e^T H e + press * sum (1 - |2 h - 1|**b),     e = q + h * gap - w,   H = E[x x^T]
    h = min(max(1.2 sigmoid(v) - 0.1, 0), 1)

q is the integer below each weight, gap the way to the next one that the format has. H and steps are taken in units in
which all products are alike. Gradients are in closed form, for `Adam`; b falls from 20 to 2, and the
first fifth goes without the second term. What is found ends in coordinate descent, like GPTQ's; where the nearest codes
with descent are better for an output, these are taken.

Source: Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization", equations 21 to 25, with the
moments in place of batches. Price: `steps` times out * k**2 multiplications for k inputs: ten and more times GPTQ's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bevel.calib.adam import Adam
from bevel.calib.formats.lattice import Lattice, Reals
from bevel.calib.rounding.base import MatrixRounder
from bevel.calib.rounding.coordinate_descent import better_descended, mean_of_squares

STRETCH, SHIFT = 1.2, 0.1  # of the sigmoid, so that both ends are reached
FREE = 0.2  # of the steps, without pressure
FIRST, LAST = 20.0, 2.0  # exponents: at first only what lies near an end is pressed to it


@dataclass(frozen=True)
class AdaRound(MatrixRounder):
    """steps, rate: of Adam; press: what an undecided weight counts, beside a squared error of one step; sweeps: of
    coordinate descent behind it."""

    name: ClassVar[str] = "adaround"
    tried: ClassVar[bool] = False  # GPTQ leaves about as much of the same error in a tenth of the time
    steps: int = 500
    rate: float = 0.05
    press: float = 0.3
    sweeps: int = 12

    def integers(self, wanted: Reals, second: Reals, lattice: Lattice) -> Reals:
        learned = self.learned(wanted, second / mean_of_squares(second), lattice)
        return better_descended(wanted, second, lattice, learned, self.sweeps)

    def learned(self, wanted: Reals, curved: Reals, lattice: Lattice) -> Reals:
        """Integers [groups, k, out]."""
        low, gap = ends_of(wanted, lattice)
        place = np.clip((wanted / lattice.steps - low) / np.where(gap > 0, gap, 1.0), 0.01, 0.99)
        free = logit((place + SHIFT) / STRETCH)
        adam = Adam(self.rate)
        for step in range(1, self.steps + 1):
            sigmoid = 1 / (1 + np.exp(-free))
            share = np.clip(STRETCH * sigmoid - SHIFT, 0.0, 1.0)
            slope = 2 * gap * (curved @ (low + share * gap - wanted / lattice.steps)) + self.pressure(share, step)
            slope *= np.where((share > 0) & (share < 1), STRETCH * sigmoid * (1 - sigmoid), 0.0)
            free -= adam.change(slope)
        share = STRETCH / (1 + np.exp(-free)) - SHIFT
        return low + np.where(share >= 0.5, gap, 0.0)

    def pressure(self, share: Reals, step: int) -> Reals | float:
        """The slope of `press * (1 - |2 share - 1|**b)`."""
        begun = (step / self.steps - FREE) / (1 - FREE)
        if begun < 0:
            return 0.0
        b = LAST + (FIRST - LAST) * (1 + np.cos(np.pi * begun)) / 2
        off = 2 * share - 1
        found: Reals = -2 * self.press * b * np.sign(off) * np.abs(off) ** (b - 1)
        return found


def ends_of(wanted: Reals, lattice: Lattice) -> tuple[Reals, Reals]:
    """The integer at or below each weight, and the way to the next one; 0 where there is none."""
    if lattice.table is None:
        low = np.clip(np.floor(wanted / lattice.steps), lattice.low, lattice.high)
        return low, np.minimum(low + 1, lattice.high) - low
    place = np.searchsorted(lattice.table, wanted / lattice.steps, side="right") - 1
    below, above = (np.clip(one, 0, len(lattice.table) - 1) for one in (place, place + 1))
    return lattice.table[below], lattice.table[above] - lattice.table[below]


def logit(share: Reals) -> Reals:
    found: Reals = np.log(share) - np.log1p(-share)
    return found


ROUNDER = AdaRound()
