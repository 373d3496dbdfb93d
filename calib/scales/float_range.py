"""The scale of an activation in a minifloat: searched by the expected squared error over the tensor's histogram.

A minifloat's steps double with every power of two, so that halving the scale costs nothing but range at one end, and
where a tensor's values lie between two powers of two decides as much. Both are searched together: fractions of the
scale that clips nothing, over two powers of two and more, then finer ones around the best.
"""

from __future__ import annotations

import numpy as np

from bevel.calib.formats.scheme import Scheme, TensorQuant
from bevel.calib.observe.statistics import Statistics

FRACTIONS = np.geomspace(0.1, 2.0, 48)  # of the scale that clips nothing
FINE_FACTORS = np.linspace(0.96, 1.04, 9)
PARTS = 4  # points a bin of the histogram is judged by

SMALLEST = float(np.finfo(np.float32).smallest_normal)


def float_quant(statistics: Statistics, scheme: Scheme) -> TensorQuant:
    """The scale with the least expected squared error. A tensor that was always zero gets scale 1.

    Raises ValueError for statistics of no value and for a scheme of an integer format.
    """
    if scheme.levels is None:
        raise ValueError(f"{scheme.format.name} has equal steps: its interval is searched")
    if statistics.count == 0:
        raise ValueError("a tensor of which no value was seen has no range")
    largest = max(-statistics.low, statistics.high, 0.0)
    if largest == 0:
        return with_scale(1.0, scheme)
    points, masses = statistics.histogram.points(PARTS)

    def error(scale: float) -> float:
        unit = scheme.levels.unit if scheme.levels is not None else 1.0
        rounded = scheme.format.round(points / scale * unit) / unit * scale
        return float(np.square(rounded - points) @ masses)

    scale = largest / scheme.high
    for factors in (FRACTIONS, FINE_FACTORS):
        scale = min((scale * factor for factor in factors), key=error)
    return with_scale(scale, scheme)


def with_scale(scale: float, scheme: Scheme) -> TensorQuant:
    return TensorQuant(scheme, np.asarray(np.float32(max(scale, SMALLEST))), np.zeros((), scheme.dtype))
