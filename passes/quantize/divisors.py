"""What something is divided by, or a logarithm taken of, must not become 0 where it never was: 1 / 0 is no number.

Quantizing rounds what is small to 0. Of a divisor, the code of 0 is given up for the nearest one on the side where
its values lie: codes of a tensor that was positive in all of the calibration data are clamped to those above its zero
point. Elements within half a step of 0 are then up to a step wrong, and all that is computed of them stays finite. A
divisor that was 0 in the calibration data keeps its 0, which then means what it means in float.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.formats.scheme import TensorQuant
from bevel.calib.observe.statistics import Statistics
from bevel.passes.graph.regions import evaluate_region, find_region

DIVIDED_BY = {"Div": 1, "Mod": 1}  # by operator: the input that must not be 0
SINGULAR = frozenset({"Reciprocal", "Log", "Div", "Pow"})  # may have no finite value at 0


@dataclass(frozen=True)
class Nonzero:
    """Codes of `quant` but for that of 0, which becomes `instead`: low and high are the codes that remain."""

    quant: TensorQuant
    low: int
    high: int
    instead: int

    @property
    def clamps(self) -> bool:
        """Whether the codes that remain lie side by side."""
        zero = int(self.quant.zero_point)
        return not self.low <= zero <= self.high

    @property
    def table(self) -> NDArray[np.int8]:
        """The code of each of q = -128 .. 127."""
        codes = np.clip(np.arange(-128, 128), self.low, self.high)
        return np.where(codes == int(self.quant.zero_point), self.instead, codes).astype(np.int8)


def find_divisors(graph: gs.Graph, points: Mapping[str, gs.Tensor], roots: Mapping[str, gs.Tensor]) -> Iterator[str]:
    """The points that something is divided by, and the roots of functions that are not finite at 0.

    roots: by the point at which a function of one tensor ends, that tensor.
    """
    for node in graph.nodes:
        place = DIVIDED_BY.get(node.op)
        if place is not None and not any(tensor.name in roots for tensor in node.outputs):
            yield from (tensor.name for tensor in node.inputs[place : place + 1] if tensor.name in points)
    for end, root in roots.items():
        region = find_region(points[end], {root.name})
        if region is None or not any(node.op in SINGULAR for node in region.nodes):
            continue
        if not np.isfinite(evaluate_region(region, np.zeros(1, np.float32), graph.opset)).all():
            yield root.name


def without_zero(statistics: Statistics, quant: TensorQuant) -> Nonzero | None:
    """How a tensor's codes leave out 0, or None where it was 0, or where no table holds what is left."""
    scheme, zero = quant.scheme, int(quant.zero_point)
    if statistics.histogram.zeros or scheme.levels is not None or scheme.low == scheme.high:
        return None
    if statistics.low > 0 and zero < scheme.high:
        return Nonzero(quant, zero + 1, scheme.high, zero + 1)
    if statistics.high < 0 and zero > scheme.low:
        return Nonzero(quant, scheme.low, zero - 1, zero - 1)
    if scheme.dtype != np.int8 or not scheme.low < zero < scheme.high:
        return None
    more_above = statistics.histogram.counts[-statistics.histogram.first :].sum() * 2 >= statistics.count
    return Nonzero(quant, scheme.low, scheme.high, zero + 1 if more_above else zero - 1)
