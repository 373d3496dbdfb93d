"""Rounding each weight to what is best with all others as they are, again and again.

    best of weight i, all others kept:  the code nearest to  q_i - g_i / h_ii,      g = H (q - w),  H = E[x x^T]

The error (q - w)^T H (q - w) never grows, and each sweep goes over all inputs; where nothing moves any more, no single
weight can be better. Source: Behdin et al. 2023, "QuantEase: Optimization-based Quantization for Language Models",
which starts, as this rounder does, from the nearest codes; behind GPTQ it mends what that leaves.

Price: out * k**2 multiplications a sweep for k inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bevel.calib.formats.lattice import Lattice, Reals
from bevel.calib.rounding.base import MatrixRounder

BLOCK = 64  # inputs whose moves are handed on together
LOOK = 16  # inputs that are looked at together before each is asked: behind GPTQ, or in later sweeps, few of them move
STIFFNESS = 1e-6  # of the mean of the diagonal: weights of inputs that are always 0 stay


@dataclass(frozen=True)
class CoordinateDescent(MatrixRounder):
    name: ClassVar[str] = "coordinate-descent"
    tried: ClassVar[bool] = False  # GPTQ ends in it, from a better start
    sweeps: int = 25

    def integers(self, wanted: Reals, second: Reals, lattice: Lattice) -> Reals:
        return descended(wanted, second, lattice, lattice.nearest(wanted), self.sweeps)


def descended(wanted: Reals, second: Reals, lattice: Lattice, start: Reals, sweeps: int) -> Reals:
    """Integers [groups, k, out] that no move of a single one betters, or what `sweeps` make of `start`."""
    stiff = second + STIFFNESS * mean_of_squares(second) * np.eye(second.shape[1])
    integers = start.copy()
    slope = stiff @ (integers * lattice.steps - wanted)
    for _ in range(sweeps):
        if not sweep(integers, slope, stiff, lattice):
            break
    return integers


def better_descended(wanted: Reals, second: Reals, lattice: Lattice, start: Reals, sweeps: int) -> Reals:
    """What is made of `start`, or of the nearest integers where that leaves less of an output's error."""
    starts = (start, lattice.nearest(wanted))
    first, other = (descended(wanted, second, lattice, one, sweeps) for one in starts)
    better = np.less_equal(*(error_of(one * lattice.steps - wanted, second) for one in (first, other)))
    return np.where(better[:, np.newaxis], first, other)


def mean_of_squares(second: Reals) -> Reals:
    """Of all inputs of a group, never 0: [groups, 1, 1]."""
    mean = np.diagonal(second, axis1=1, axis2=2).mean(axis=1)
    found: Reals = np.maximum(mean, np.finfo(np.float32).tiny)[:, None, None]
    return found


def error_of(change: Reals, second: Reals) -> Reals:
    """Of each output: [groups, out]."""
    found: Reals = np.einsum("gko,gko->go", change, second @ change)
    return found


def sweep(integers: Reals, slope: Reals, stiff: Reals, lattice: Lattice) -> bool:
    """Move each of `integers` in turn, in place, with the slope; whether one did."""
    moved = False
    inputs, own = integers.shape[1], np.diagonal(stiff, axis1=1, axis2=2)[:, :, np.newaxis]

    def nearest(places: slice) -> Reals:
        """What is best of each, as the slope is now."""
        value = integers[:, places] * lattice.steps[:, places] - slope[:, places] / own[:, places]
        return lattice.nearest(value, places)

    for begin in range(0, inputs, BLOCK):
        end = min(begin + BLOCK, inputs)
        moves = np.zeros_like(integers[:, begin:end])
        for place in places_to_ask(begin, end, lambda these: bool((nearest(these) != integers[:, these]).any())):
            found = nearest(slice(place, place + 1))[:, 0]
            change = (found - integers[:, place]) * lattice.steps[:, place]
            if not change.any():
                continue
            integers[:, place], moves[:, place - begin] = found, change
            slope[:, place + 1 : end] += stiff[:, place + 1 : end, place, np.newaxis] * change[:, np.newaxis]
        if moves.any():
            moved = True
            outside = np.r_[0:begin, end:inputs]
            slope[:, outside] += stiff[:, outside, begin:end] @ moves
            # Inside, moves have reached the inputs behind them only.
            inner = np.triu(np.ones((end - begin, end - begin)))
            slope[:, begin:end] += (stiff[:, begin:end, begin:end] * inner) @ moves
    return moved


def places_to_ask(begin: int, end: int, moves: Callable[[slice], bool]) -> Iterator[int]:
    """The inputs in order, without those of which none would move if it were asked now."""
    for first in range(begin, end, LOOK):
        last = min(first + LOOK, end)
        if moves(slice(first, last)):
            yield from range(first, last)


ROUNDER = CoordinateDescent()
