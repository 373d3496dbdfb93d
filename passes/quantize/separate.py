"""Which inputs of a Concat or a Pad keep a scale of their own, and are rescaled into the result.

One scale for all costs a part nothing that only the Concat reads: what is rounded there once would be rounded twice.
But a part of small values that others read, too, would lose most of its codes to the large values beside it. Rescaling
rounds a second time, which at most doubles the power of the error; so a part is kept apart where one scale would do
worse to any of its other readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, log10

import numpy as np

from bevel.calib.formats.format import IntFormat
from bevel.calib.formats.scheme import TensorQuant
from bevel.calib.observe.statistics import Statistics
from bevel.calib.scales.ranges import expected_error, profile_of
from bevel.passes.quantize.plan import QuantizationPlan

MOST_LOST = 10 * log10(2)  # dB: a second rounding of the same step
FINE = 50.0  # dB of signal over error that need no scale of their own

QuantOf = Callable[[list[str]], TensorQuant]  # the quantization of points that share one


@dataclass
class Separated:
    """groups: of points that share a scale. lost: by (input, result) of a join that rescales, the dB that one scale
    would cost."""

    groups: list[list[str]]
    lost: dict[tuple[str, str], float] = field(default_factory=dict)


def separate(
    group: list[str], plan: QuantizationPlan, statistics: Mapping[str, Statistics], quant_of: QuantOf
) -> Separated:
    """Tied points of one format, in groups that share a scale."""
    place = {name: index for index, name in enumerate(group)}
    part_of = {name: part for part in (plan.firm[point] for point in group) for name in part}
    lost: dict[tuple[str, str], float] = {}
    for result in group:
        for name in dict.fromkeys(plan.joins.get(result, ())):
            one, other = part_of[name], part_of[result]
            if one is other:
                continue
            together = sorted((*one, *other), key=place.__getitem__)
            quants = quant_of(one), quant_of(other), quant_of(together)
            cost = joining_cost(one, other, (name, result), plan, statistics, quants)
            if cost > MOST_LOST:
                lost[name, result] = cost
            else:
                part_of |= dict.fromkeys(together, together)
    apart = {pair: cost for pair, cost in lost.items() if part_of[pair[0]] is not part_of[pair[1]]}
    return Separated(list({id(part): part for part in part_of.values()}.values()), apart)


def joining_cost(
    one: list[str],
    other: list[str],
    join: tuple[str, str],
    plan: QuantizationPlan,
    statistics: Mapping[str, Statistics],
    quants: tuple[TensorQuant, TensorQuant, TensorQuant],
) -> float:
    """The most dB that any point which is read beside the join loses, if both groups share a scale.

    What is rescaled into the result brings its own error along.
    """
    (name, result), (alone, beside, together) = join, quants
    brought = error_power(statistics[name], alone)
    costs = [
        decibels_lost(statistics[point], error_power(statistics[point], alone), together)
        for point in one
        if is_used(point, {*one, result}, plan)
    ]
    costs += [
        decibels_lost(statistics[point], error_power(statistics[point], beside) + brought, together)
        for point in other
        if is_used(point, {*other, result}, plan)
    ]
    return max(costs, default=0.0)


def is_used(name: str, members: set[str], plan: QuantizationPlan) -> bool:
    """Whether a point leaves the model, or is read by more than what ties it to other `members`."""
    readers = plan.points[name].outputs
    return name in plan.leaving or not all(plan.ties_into(node, members) for node in readers)


def decibels_lost(statistics: Statistics, before: float, common: TensorQuant) -> float:
    """How much more error power than `before` a tensor has by `common`; 0 where it has next to none."""
    after = error_power(statistics, common)
    if after <= max(before, power(statistics) / 10 ** (FINE / 10)):
        return 0.0
    return 10 * log10(after / before) if before else inf


def power(statistics: Statistics) -> float:
    """The summed squares of all values, from their histogram."""
    points, masses = statistics.histogram.points(1)
    return float(points**2 @ masses)


def error_power(statistics: Statistics, quant: TensorQuant) -> float:
    """The summed squared error of quantizing all values, from their histogram."""
    scheme, zero = quant.scheme, float(quant.zero_point)
    if not isinstance(scheme.format, IntFormat):
        raise TypeError(f"{scheme.format.name} has no interval of equal steps")
    low, high = ((code - zero) * float(quant.scale) for code in (scheme.low, scheme.high))
    (error,) = expected_error(profile_of(statistics.histogram), np.array([low]), np.array([high]), scheme)
    return max(float(error), 0.0)
