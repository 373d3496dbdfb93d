"""Rounding each weight after a division of its own, which is learned: large weights may move by several steps.

    q = round(w / (step * S)),   S = exp(v) of each weight, times that of its output, and of its input:  v, v_o, v_i

    minimize over v:  e^T H e,   e = step * q - w,   H = E[x x^T];    dq/dv = - w / (step * S), as if nothing rounded

What is divided by S moves in proportion to itself, so that the same change of v lets a large weight go further than a
small one, which rounding up or down (AdaRound) does not. The step itself stays that of the grid. Of all that was passed
the best is kept, output by output; coordinate descent follows, as behind GPTQ, and where the nearest codes with descent
are better for an output, these are taken.

Source: Lee et al. 2023, "FlexRound: Learnable Rounding based on Element-wise Division for Post-Training Quantization",
section 3 and proposition 3.1, with the moments in place of batches and its division as an exponential, which stays
positive. Price: `steps` times out * k**2 multiplications for k inputs: half of AdaRound's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bevel.calib.adam import Adam
from bevel.calib.formats.lattice import Lattice, Reals
from bevel.calib.rounding.base import MatrixRounder
from bevel.calib.rounding.coordinate_descent import better_descended, error_of, mean_of_squares


@dataclass(frozen=True)
class FlexRound(MatrixRounder):
    """steps, rate: of Adam; sweeps: of coordinate descent behind it."""

    name: ClassVar[str] = "flexround"
    tried: ClassVar[bool] = False  # many descents of the error that GPTQ lessens in one pass
    steps: int = 250
    rate: float = 0.003
    sweeps: int = 12

    def integers(self, wanted: Reals, second: Reals, lattice: Lattice) -> Reals:
        learned = self.learned(wanted, second / mean_of_squares(second), lattice)
        return better_descended(wanted, second, lattice, learned, self.sweeps)

    def learned(self, wanted: Reals, curved: Reals, lattice: Lattice) -> Reals:
        """Integers [groups, k, out]."""
        own = [np.zeros_like(wanted), np.zeros_like(wanted[:, :1]), np.zeros_like(wanted[:, :, :1])]
        adams = [Adam(self.rate) for _ in own]
        best = lattice.nearest(wanted)
        least = error_of(best - wanted / lattice.steps, curved)
        for _ in range(self.steps):
            divided = wanted * np.exp(-sum(own))
            integers = lattice.nearest(divided)
            change = integers - wanted / lattice.steps
            errors = error_of(change, curved)
            better = errors < least
            least = np.where(better, errors, least)
            best = np.where(better[:, np.newaxis], integers, best)
            slope = -2 * (curved @ change) * divided / lattice.steps
            for place, (adam, axes) in enumerate(zip(adams, ((), (1,), (2,)), strict=True)):
                own[place] = own[place] - adam.change(slope.sum(axis=axes, keepdims=True) if axes else slope)
        return best


ROUNDER = FlexRound()
