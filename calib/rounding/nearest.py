"""Each weight by itself to the nearest code, halves to even: the least squared error of the weights.

    |w - scale * code| <= scale / 2     within the range

That is the least error of a product's outputs, too, where its inputs are independent, of mean 0 and of one size;
neighbouring pixels are not. Source: Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient
inference: A whitepaper", section 2. Price: none beside a division.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from bevel.calib.formats.format import Codes
from bevel.calib.formats.quantized import Grid
from bevel.calib.rounding.base import Rounder, SeenProduct


@dataclass(frozen=True)
class Nearest(Rounder):
    name: ClassVar[str] = "nearest"

    def codes(self, weights: NDArray[Any], grid: Grid, seen: SeenProduct | None) -> Codes:
        return grid.nearest(weights)


ROUNDER = Nearest()
