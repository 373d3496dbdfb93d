"""Scales of weights by what is left once they are rounded: of each channel the best of several, by its output's error.

    minimize over s:  (s q - w)^T E[x x^T] (s q - w),     q: the integers that the rounder finds on the steps s

Scales of least squared error (`bevel.calib.scales.weights`) fit codes that are the nearest ones. A rounder that makes
errors cancel leaves, with steps a little wider or finer, now more and now less of the output, and nothing but trying
tells which: the fewer inputs a channel has, the more there is to find. So kernels of few inputs have more tries.

Source: Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", whose
authors' program searches the scale before (its `mse`), by the weights' own error; here each try is rounded to the end.
Price: the rounder's, times the tries, but for what all of them share (the factor of E[x x^T]).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.lattice import Lattice, MatrixLayout, Reals
from bevel.calib.formats.quantized import Grid
from bevel.calib.formats.scheme import PerChannel

ENDS = (0.75, 1.2)  # of the given scale
FEWEST, MOST, TRIES = 8, 64, 512  # tries of each channel: so many, and so many for all of its inputs together
CODES = 64  # formats of more have steps so fine that nothing hangs on them

Floats = NDArray[np.float32]
RoundAll = Callable[[Reals, Reals, Lattice], Reals]


def rounded_scales(
    weights: NDArray[Any],
    grid: Grid,
    layout: MatrixLayout,
    second: Reals,
    integers: RoundAll,
    least: Floats | None = None,
) -> Grid:
    """`grid` with the scales that leave least error. second: E[x x^T] of each group, [groups, k, k]; integers: what the
    rounder makes of weights [groups, k, out], `second` and a lattice; least: what no scale may be below, [channels].
    Grids of blocks, of many codes, and of one scale for all channels stay."""
    if grid.factors is not None or not few_codes(grid) or not isinstance(grid.scheme.granularity, PerChannel):
        return grid
    wanted = np.ascontiguousarray(layout.matrices(weights), np.float64)
    grids = tried_grids(grid, wanted.shape[1], least)
    lattices = [Lattice.of(one, layout, weights.shape) for one in grids]
    many = np.tile(wanted, (1, 1, len(grids)))
    all_at_once = joined(lattices)
    change = integers(many, second, all_at_once) * all_at_once.steps - many
    errors = np.einsum("gko,gko->go", change, second @ change).reshape(len(wanted), len(grids), -1)
    axis = grid.scheme.granularity.axis
    sums = [of_channels(errors[:, place], layout, weights.shape, wanted.shape, axis) for place in range(len(grids))]
    best = np.argmin(sums, axis=0)
    return grid.with_scale(np.stack([one.quant.scale for one in grids])[best, np.arange(len(best))])


def few_codes(grid: Grid) -> bool:
    levels = grid.scheme.levels
    return (grid.scheme.high - grid.scheme.low + 1 if levels is None else len(levels.array)) <= CODES


def tried_grids(grid: Grid, inputs: int, least: Floats | None) -> list[Grid]:
    """The given one first, so that it wins ties."""
    factors = np.geomspace(*ENDS, min(max(TRIES // inputs, FEWEST), MOST))
    scales = [(grid.quant.scale * np.float32(one)).astype(np.float32) for one in factors]
    return [grid, *(grid.with_scale(one if least is None else np.maximum(one, least)) for one in scales)]


def joined(lattices: list[Lattice]) -> Lattice:
    """One beside the other, along the outputs."""
    steps, low, high = (
        np.concatenate([getattr(one, name) for one in lattices], axis=2) for name in ("steps", "low", "high")
    )
    return Lattice(steps, low, high, lattices[0].table)


def of_channels(
    errors: Reals, layout: MatrixLayout, shape: tuple[int, ...], matrices: tuple[int, ...], axis: int
) -> Reals:
    """Of outputs [groups, out], summed over those that share a scale: [channels]."""
    spread = layout.weights(np.broadcast_to(errors[:, np.newaxis], matrices), shape)
    others = tuple(place for place in range(len(shape)) if place != axis)
    found: Reals = spread.sum(axis=others)
    return found
