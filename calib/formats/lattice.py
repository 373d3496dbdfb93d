"""A grid as the matrices of a product see it: what each weight may be, input by input.

real = step * integer,      integer: low ... high, or of the format's list
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.format import Codes
from bevel.calib.formats.quantized import Grid

Reals = NDArray[np.float64]


class MatrixLayout(Protocol):
    """How weights lie in the matrices of a product: [groups, k, out]."""

    def matrices(self, weights: NDArray[Any]) -> NDArray[Any]: ...

    def weights(self, matrices: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]: ...


@dataclass(frozen=True, eq=False)
class Lattice:
    """steps, low, high: float64 [groups, k, out]; integers are codes less their zero point. table: ascending, of a
    format whose integers are not all there."""

    steps: Reals
    low: Reals
    high: Reals
    table: Reals | None

    @staticmethod
    def of(grid: Grid, layout: MatrixLayout, shape: tuple[int, ...]) -> Lattice:
        """Of weights of that shape."""
        step, zero_point = grid.steps(shape)
        levels = grid.scheme.levels

        def laid(values: NDArray[Any]) -> Reals:
            return np.ascontiguousarray(layout.matrices(np.broadcast_to(values, shape)), np.float64)

        return Lattice(
            laid(step),
            laid(grid.scheme.low - zero_point),
            laid(grid.scheme.high - zero_point),
            None if levels is None else levels.array.astype(np.float64),
        )

    def ordered(self, order: NDArray[np.intp]) -> Lattice:
        """With its inputs in another order, of each group: [groups, k]."""
        arrays = (self.steps, self.low, self.high)
        steps, low, high = (np.take_along_axis(one, order[:, :, np.newaxis], 1) for one in arrays)
        return Lattice(steps, low, high, self.table)

    def nearest(self, values: Reals, places: int | slice = slice(None)) -> Reals:
        """The integers of the nearest reals, of one input [groups, out] or of all."""
        integers = values / self.steps[:, places]
        if self.table is None:
            # As np.clip has it, which takes twice as long for a few values
            found: Reals = np.minimum(np.maximum(np.rint(integers), self.low[:, places]), self.high[:, places])
            return found
        middles = (self.table[1:] + self.table[:-1]) / 2
        return self.table[np.searchsorted(middles, integers)]

    def codes(self, integers: Reals, grid: Grid, layout: MatrixLayout, shape: tuple[int, ...]) -> Codes:
        _, zero_point = grid.steps(shape)
        laid = layout.weights(integers, shape)
        codes: Codes = (np.rint(laid).astype(np.int64) + zero_point).astype(grid.scheme.dtype)
        return codes

    def integers(self, codes: Codes, grid: Grid, layout: MatrixLayout) -> Reals:
        """What `codes` makes codes of: [groups, k, out]."""
        _, zero_point = grid.steps(codes.shape)
        return np.ascontiguousarray(layout.matrices(codes.astype(np.float64) - zero_point), np.float64)

    def beside(self, integers: Reals, sign: Reals, group: int, outs: NDArray[np.intp]) -> Reals:
        """The next integer by `sign` of each of [n, k], of some outputs of a group; the same where there is none."""
        if self.table is not None:
            places = np.searchsorted(self.table, integers) + sign.astype(np.int64)
            return self.table[np.clip(places, 0, len(self.table) - 1)]
        found: Reals = np.clip(integers + sign, self.low[group][:, outs].T, self.high[group][:, outs].T)
        return found
