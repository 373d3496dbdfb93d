"""One scale and zero point for every group of tied tensors, from the histogram of all its members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np

from bevel.calib.histogram import Histogram
from bevel.calib.ranges import RangeMethod, activation_quant
from bevel.calib.scheme import INT8_ACTIVATIONS, TensorQuant
from bevel.calib.statistics import Statistics
from bevel.passes.base import Note
from bevel.passes.quantize.plan import QuantizationPlan


@dataclass
class Scales:
    """The quantization of each point, by tensor name."""

    quants: dict[str, TensorQuant] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)


def choose_scales(plan: QuantizationPlan, statistics: Mapping[str, Statistics], method: RangeMethod) -> Scales:
    """Raises KeyError for a point that was not observed."""
    scales = Scales()
    for group in plan.ties:
        quant = fixed_quant(group, plan, statistics)
        if quant is not None:
            scales.notes += [Note(name, "scale fixed by its operator") for name in group if name in plan.fixed]
        else:
            quant = activation_quant(together([statistics[name] for name in group]), INT8_ACTIVATIONS, method)
        scales.quants |= dict.fromkeys(group, quant)
        scales.notes += tie_notes(group, statistics)
    return scales


def fixed_quant(group: list[str], plan: QuantizationPlan, statistics: Mapping[str, Statistics]) -> TensorQuant | None:
    """What an operator of the group fixes (Softmax: 1/256), if every other member's values fit into it."""
    fixed = {plan.fixed[name] for name in group if name in plan.fixed}
    if len(fixed) != 1:
        return None
    ((scale, zero_point),) = fixed
    low, high = ((code - zero_point) * scale for code in (INT8_ACTIVATIONS.low - 0.5, INT8_ACTIVATIONS.high + 1.5))
    others = [statistics[name] for name in group if name not in plan.fixed]
    if any(one.low < low or one.high > high for one in others):
        return None
    return TensorQuant(INT8_ACTIVATIONS, np.asarray(np.float32(scale)), np.array(zero_point, np.int8))


def together(members: list[Statistics]) -> Statistics:
    """The values of all members in one histogram; their channels do not correspond, so the first's means remain."""
    return replace(members[0], histogram=reduce(Histogram.merge, (one.histogram for one in members)))


def tie_notes(group: list[str], statistics: Mapping[str, Statistics]) -> list[Note]:
    """What a forced tie costs: how much wider the common range is than each member's own."""
    if len(group) == 1:
        return []
    widths = {name: statistics[name].high - statistics[name].low for name in group if name in statistics}
    widest = max(widths.values(), default=0.0)
    return [
        Note(
            name,
            f"shares one scale with {len(group) - 1} other tensors; its own range is {width / widest:.0%} of theirs",
        )
        for name, width in widths.items()
        if widest > 0 and width < 0.5 * widest
    ]
