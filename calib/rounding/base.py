"""What a rounder is: weights, the grid they may lie on, and what was seen of their inputs go in, codes come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.format import Codes
from bevel.calib.formats.lattice import Lattice, Reals
from bevel.calib.formats.quantized import Grid, Quantized
from bevel.calib.observe.moments import Moments
from bevel.calib.observe.rows import Rows


@dataclass(frozen=True, eq=False)
class KeptRows:
    """x: what is read, [groups, rows, k]; y: what is to be made of it, without the bias, [groups, rows, out]."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]

    @staticmethod
    def joined(parts: Sequence[KeptRows]) -> KeptRows:
        return KeptRows(
            np.concatenate([one.x for one in parts], axis=1), np.concatenate([one.y for one in parts], axis=1)
        )


@dataclass(frozen=True, eq=False)
class SeenProduct:
    """What was seen of a product. rows: how it reads; fitted: of the samples that weights are fitted to; held: of
    others, by which what is fitted is judged; kept: some rows of the former, for rounders that ask for them."""

    rows: Rows
    fitted: Moments
    held: Moments | None = None
    kept: KeptRows | None = None


@dataclass(frozen=True)
class Rounder(ABC):
    """One way to round; fields are its options. A file of this folder holds one, as `ROUNDER`, and bears its name.

    looks: whether it makes something of `seen`; without it, it rounds to the nearest. tried: whether it is tried where
    the best is looked for. keeps: how many rows it asks for as they are.
    """

    name: ClassVar[str]
    looks: ClassVar[bool] = False
    tried: ClassVar[bool] = True
    keeps: ClassVar[int] = 0

    def aim(self, weights: NDArray[np.float32], seen: SeenProduct | None) -> NDArray[np.float32]:
        """What is rounded in place of `weights`: of their shape. Its grid is then made for it."""
        return weights

    @abstractmethod
    def codes(self, weights: NDArray[Any], grid: Grid, seen: SeenProduct | None) -> Codes:
        """Codes of `weights` on `grid`. seen: of the product that they belong to; None where nothing was."""

    def __call__(self, weights: NDArray[Any], grid: Grid, seen: SeenProduct | None = None) -> Quantized:
        return Quantized(grid, self.codes(weights, grid, seen))


@dataclass(frozen=True)
class MatrixRounder(Rounder):
    """One that sees a product as matrices, and rounds to the nearest where nothing was seen of what they multiply."""

    looks: ClassVar[bool] = True

    def codes(self, weights: NDArray[Any], grid: Grid, seen: SeenProduct | None) -> Codes:
        if seen is None:
            return grid.nearest(weights)
        lattice = Lattice.of(grid, seen.rows, weights.shape)
        wanted = np.ascontiguousarray(seen.rows.matrices(weights), np.float64)
        return lattice.codes(self.integers(wanted, seen.fitted.second, lattice), grid, seen.rows, weights.shape)

    @abstractmethod
    def integers(self, wanted: Reals, second: Reals, lattice: Lattice) -> Reals:
        """Of the lattice, for the weights `wanted`: both [groups, k, out]. second: E[x x^T] of each group's inputs,
        [groups, k, k]."""
