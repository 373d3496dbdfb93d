"""How large the states of a recurrent network get, and what goes into its gates: what no tensor of the graph holds.

The float recurrence runs on what the node reads (`bevel.calib.arithmetic.float_cell`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.float_cell import STATES, FloatCell
from bevel.calib.observe.base import NotFiniteError, Observation, first_not_finite


@dataclass(frozen=True)
class RecurrentRange(Observation):
    """The largest magnitudes: of each state, initial ones included, and of what goes into the gates of each
    function."""

    reaches: tuple[float, ...]
    entering: tuple[float, ...]

    @staticmethod
    def of(*given: NDArray[np.float32] | FloatCell | int) -> RecurrentRange:
        """Of x [steps, batch, inputs], and of the initial states that are computed, [1, batch, hidden]; then come the
        node's cell and the axis of x that steps run along."""
        *arrays, cell, axis = given
        assert isinstance(cell, FloatCell) and isinstance(axis, int)
        x, *initial = (np.asarray(one) for one in arrays)
        for one in (x, *initial):
            if not np.isfinite(one).all():
                raise first_not_finite(one)
        walked = np.moveaxis(x, axis, 0)
        found = RecurrentRange((0.0,) * STATES[cell.op], (0.0,) * len(cell.functions))
        for place in range(walked.shape[1]):  # by itself: products of larger matrices are rounded otherwise
            with np.errstate(over="ignore", invalid="ignore"):
                trace = cell.of(place).run(walked[:, [place]], [state[0, [place]] for state in initial])
            for value in (*trace.reaches, *trace.entering):
                if not np.isfinite(value):
                    raise NotFiniteError(0, value)
            found = found.merge(RecurrentRange(trace.reaches, trace.entering))
        return found

    def merge(self, other: RecurrentRange) -> RecurrentRange:
        pairs = (zip(self.reaches, other.reaches, strict=True), zip(self.entering, other.entering, strict=True))
        reaches, entering = (tuple(max(pair) for pair in one) for one in pairs)
        return RecurrentRange(reaches, entering)
