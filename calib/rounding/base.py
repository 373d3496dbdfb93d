"""What a rounder is: weights, the grid they may lie on, and what was seen of their inputs go in, codes come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from bevel.calib.formats.format import Codes
from bevel.calib.formats.quantized import Grid, Quantized
from bevel.calib.observe.statistics import Statistics


@dataclass(frozen=True)
class Rounder(ABC):
    """One way to round; fields are its options. A file of this folder holds one, as `ROUNDER`, and bears its name."""

    name: ClassVar[str]

    @abstractmethod
    def codes(self, weights: NDArray[Any], grid: Grid, seen: Statistics | None) -> Codes:
        """Codes of `weights` on `grid`. seen: of the tensor that they multiply; None where nothing was observed."""

    def __call__(self, weights: NDArray[Any], grid: Grid, seen: Statistics | None = None) -> Quantized:
        return Quantized(grid, self.codes(weights, grid, seen))
