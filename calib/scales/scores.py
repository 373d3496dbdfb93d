"""The scale of scores in a minifloat: what a Softmax makes of them decides.

    minimize over scale and z:   sum over rows of |softmax(x') - softmax(x)|**2,     x' = scale * (q - z)

Shares feel an error of a score times p (1 - p), so that large scores count and all others hardly do, while a minifloat
is dense around its zero: with scales of least squared error, scores of few bits lose more than all else.
A number that is added to all scores is not felt at all. So q, the format's own steps, stand for scores less a constant,
-scale * z, and dense steps lie where shares are decided; the Softmax that reads q needs no z.

Source of the criterion: Liu et al. 2021, "Post-Training Quantization for Vision Transformer", which keeps the order of
attention's scores beside their size; here the shares themselves are held to those of the float model.
Price: some hundred times the Softmax of `ROWS` rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.scheme import Scheme
from bevel.calib.formats.stairs import Stairs, climbed, finenesses, made
from bevel.calib.observe.statistics import Statistics

Floats = NDArray[np.float64]

ROWS = 512  # rows that judge
ZERO_POINTS = 8  # from the format's lowest step up
SCALES = 9  # with each of them
FARTHEST = 2.5  # times the first of these, or twice what spreads the format over all scores


def score_stairs(scores: NDArray[np.float32], statistics: Statistics, scheme: Scheme) -> Stairs:
    """Of some rows [..., n] that a Softmax reads along the last axis, and the range of all.

    No score that was seen is clipped at the top: those rows are rare, and decide much. Raises ValueError for an integer
    format and for no scores.
    """
    if scheme.levels is None or scores.size == 0:
        raise ValueError(f"{scheme.format.name} has equal steps, or there are no scores")
    rows = scores.reshape(-1, scores.shape[-1])
    judges: Floats = rows[:: -(-len(rows) // ROWS)].astype(np.float64)
    low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
    if low == high:
        return made(1.0, 1.0, low, high, scheme)
    wanted = shares(judges)
    candidates = (
        made(scale, fineness, low, high, scheme, zero_point)
        for zero_point in zero_points(scheme)
        for scale in scales(low, high, scheme, zero_point)
        for fineness in finenesses(scale, low, high, scheme, zero_point)
    )
    return min(candidates, key=lambda one: float(np.square(shares(climbed(judges, one)) - wanted).sum()))


def zero_points(scheme: Scheme) -> list[int]:
    return [round(one) for one in np.linspace(scheme.low, scheme.high, ZERO_POINTS, endpoint=False)]


def scales(low: float, high: float, scheme: Scheme, zero_point: int) -> Floats:
    """From that with which the largest score has the last step; of scores below 0, all have."""
    spread = (high - low) / (scheme.high - scheme.low)
    first = max(high / (scheme.high - zero_point), spread / 4)
    return np.geomspace(first, max(FARTHEST * first, 2 * spread), SCALES)


def shares(rows: Floats) -> Floats:
    powers = np.exp(rows - rows.max(-1, keepdims=True))
    found: Floats = powers / powers.sum(-1, keepdims=True)
    return found
