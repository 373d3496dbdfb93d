"""Rounding so that the largest error of any row is small, rather than the mean of all.

    minimize over codes, output by output:  sum over rows of |y - q^T x|**16,     as long as the sum of squares does not
                                                                                  grow by more than `MORE`

From GPTQ's codes, two at a time move, each to the next code of the format: one of the `LOOK` inputs that lessen the
most the error of the row whose error is largest, and the one that then makes up best for what that adds to the others,
if any does; the pair that leaves least, until none leaves less. This is for those who promise bounds (control,
detection of anomalies), not for signal to noise: the mean error grows a little.

Source: the discrete min-max violation problem, "Discrete Optimization of Min-Max Violation and its Applications Across
Computational Sciences" (2025), with a row of the calibration data as a constraint; its maximum as a norm of order 16,
which knows how near the others are, pairs and the bound of the mean are ours. Only rows that are kept are looked at.
Price: `moves` times `LOOK` times (k + rows) * out multiplications.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.format import Codes
from bevel.calib.formats.lattice import Lattice, Reals
from bevel.calib.formats.quantized import Grid
from bevel.calib.rounding.base import KeptRows, SeenProduct
from bevel.calib.rounding.gptq import Gptq

LOOK = 8  # inputs that are tried of a row
MORE = 1.05  # times the squared error of GPTQ's codes
LEAST_GAIN = 1e-6
TOGETHER = 64  # outputs that are moved at a time


@dataclass(frozen=True)
class MinMaxRounder(Gptq):
    """moves: of each output at most, for each of its inputs."""

    name: ClassVar[str] = "min-max"
    tried: ClassVar[bool] = False  # the judge is the mean
    keeps: ClassVar[int] = 2048
    moves: float = 2.0

    def codes(self, weights: NDArray[Any], grid: Grid, seen: SeenProduct | None) -> Codes:
        codes = super().codes(weights, grid, seen)
        if seen is None or seen.kept is None:
            return codes
        lattice = Lattice.of(grid, seen.rows, weights.shape)
        start = lattice.integers(codes, grid, seen.rows)
        return lattice.codes(self.evened(start, seen.kept, lattice), grid, seen.rows, weights.shape)

    def evened(self, start: Reals, kept: KeptRows, lattice: Lattice) -> Reals:
        """Integers [groups, k, out]."""
        integers, x = start.copy(), kept.x.astype(np.float64)
        error = x @ (integers * lattice.steps) - kept.y
        found = Evened(integers, error, MORE * np.square(error).sum(axis=1), x, lattice)
        for group, outs in product(range(len(x)), range(0, start.shape[2], TOGETHER)):
            left = np.arange(outs, min(outs + TOGETHER, start.shape[2]))
            for _ in range(int(self.moves * x.shape[2])):
                if not len(left):
                    break
                left = left[found.move(group, left)]
        return integers


@dataclass(frozen=True, eq=False)
class Evened:
    """integers: [groups, k, out]; error: of each row, [groups, rows, out]; most: of the sums of squares, [groups, out];
    x: [groups, rows, k]. The first two are moved in place."""

    integers: Reals
    error: Reals
    most: Reals
    x: Reals
    lattice: Lattice

    @cached_property
    def squares(self) -> Reals:
        """[groups, k, k]"""
        found: Reals = self.x.swapaxes(1, 2) @ self.x
        return found

    def move(self, group: int, outs: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Two codes of each of some outputs [n], where that is better; where it was."""
        x, mine, each = self.x[group], self.error[group][:, outs], np.arange(len(outs))
        worst = np.abs(mine).argmax(axis=0)
        peak, row = mine[worst, each], x[worst]
        change = self.changes(group, outs, -np.sign(peak)[:, np.newaxis] * np.sign(row))
        best = np.argsort(-np.abs(row * change), axis=1, kind="stable")[:, :LOOK]  # [n, look]
        tried = np.take_along_axis(change, best, 1)
        partner, beside = self.partners(group, outs, mine, best, tried)
        now = mine[:, :, np.newaxis] + x[:, best] * tried + x[:, partner] * beside  # [rows, n, look]
        unit = np.where(peak == 0, 1.0, np.abs(peak))
        norms = norm(now / unit[:, np.newaxis])
        worse = np.square(now).sum(axis=0) > self.most[group, outs][:, np.newaxis]
        norms[worse | (np.abs(now).max(axis=0) > unit[:, np.newaxis]) | (tried == 0)] = np.inf
        chosen = norms.argmin(axis=1)
        better: NDArray[np.bool_] = norms[each, chosen] < norm(mine / unit) * (1 - LEAST_GAIN)
        for places, changes in ((best, tried), (partner, beside)):
            at = (group, places[each, chosen][better], outs[better])
            self.integers[at] += np.rint(changes[each, chosen][better] / self.lattice.steps[at])
        self.error[group][:, outs[better]] = now[:, each, chosen][:, better]
        return better

    def partners(
        self, group: int, outs: NDArray[np.intp], mine: Reals, places: NDArray[np.intp], moved: Reals
    ) -> tuple[NDArray[np.intp], Reals]:
        """Of each [n, look] that is moved: who makes up best for it, and its own change, 0 where nobody does."""
        squares, own = self.squares[group], np.diagonal(self.squares[group])
        slope = (self.x[group].T @ mine).T[:, np.newaxis] + squares[places] * moved[:, :, np.newaxis]  # [n, look, k]
        up, down = (self.changes(group, outs, np.full((len(outs), len(own)), sign))[:, np.newaxis] for sign in (1, -1))
        change = np.where(slope < 0, up, down)
        costs = change * (2 * slope + own * change)
        np.put_along_axis(costs, places[:, :, np.newaxis], np.inf, 2)
        found = costs.argmin(axis=2)
        taken = np.take_along_axis(change, found[:, :, np.newaxis], 2)[:, :, 0]
        return found, np.where(np.take_along_axis(costs, found[:, :, np.newaxis], 2)[:, :, 0] < 0, taken, 0.0)

    def changes(self, group: int, outs: NDArray[np.intp], sign: Reals) -> Reals:
        """What weights [n, k] change by if each goes to its next code by `sign`."""
        held = self.integers[group][:, outs].T
        other = self.lattice.beside(held, sign, group, outs)
        found: Reals = (other - held) * self.lattice.steps[group][:, outs].T
        return found


def norm(errors: Reals) -> Reals:
    """The sum of powers of order 16 along the first axis."""
    for _ in range(4):
        errors = np.square(errors)
    found: Reals = errors.sum(axis=0)
    return found


ROUNDER = MinMaxRounder()
