"""Each weight to the code beside it that is nearer to zero: products never grow by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.format import Codes
from bevel.calib.formats.quantized import Grid
from bevel.calib.rounding.base import Rounder, SeenProduct


@dataclass(frozen=True)
class TowardZero(Rounder):
    name: ClassVar[str] = "toward-zero"

    def codes(self, weights: NDArray[Any], grid: Grid, seen: SeenProduct | None) -> Codes:
        nearest = grid.nearest(weights)
        step, zero_point = grid.steps(weights.shape)
        beyond = np.abs((nearest - zero_point) * step) > np.abs(weights)
        codes: Codes = (nearest - np.sign(nearest) * beyond).astype(nearest.dtype)
        return codes


ROUNDER = TowardZero()
