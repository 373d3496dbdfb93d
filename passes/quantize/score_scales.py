"""Scores of attention in minifloats: which tensors they are, what is to be seen of them, and their stairs.

`bevel.calib.scales.scores` has the method. Scores behind a mask keep the scale of least squared error: what the mask
bars would have to be left out of what decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_graphsurgeon as gs

from bevel.calib.formats.float_format import FloatFormat
from bevel.calib.formats.levels import integer_levels
from bevel.calib.formats.scheme import Scheme
from bevel.calib.formats.stairs import Stairs
from bevel.calib.formats.tensor_format import TensorFormat
from bevel.calib.observe.base import Want
from bevel.calib.observe.inputs import Inputs
from bevel.calib.observe.statistics import Statistics
from bevel.calib.scales.scores import score_stairs
from bevel.passes.operators.functions.softmax import Softmax
from bevel.passes.quantize.plan import QuantizationPlan, make_plan

SCORES = Want(Inputs, (8,))


def scores(graph: gs.Graph) -> dict[str, tuple[Want, ...]]:
    """Some samples of each tensor of scores."""
    plan = make_plan(graph)
    return {name: (SCORES,) for name in plan.points if are_scores(name, plan)}


def are_scores(point: str, plan: QuantizationPlan) -> bool:
    """Whether nothing but Softmax along the last axis reads a point."""
    readers = plan.points[point].outputs
    return bool(readers) and all(reads_rows(node, plan) for node in readers)


def reads_rows(node: gs.Node, plan: QuantizationPlan) -> bool:
    plain = node.name in plan.taken and type(plan.taken[node.name][0]) is Softmax
    return plain and int(node.attrs.get("axis", -1)) in (-1, len(node.outputs[0].shape) - 1)


def stairs_of_scores(
    group: Sequence[str], plan: QuantizationPlan, statistics: Mapping[str, Statistics], format: TensorFormat
) -> Stairs | None:
    """Of a point that has a scale of its own, whose format is a minifloat within int8, and which was seen."""
    seen = statistics[group[0]].seen.get(SCORES)
    if not isinstance(format, FloatFormat) or integer_levels(format) is None:
        return None
    if len(group) > 1 or not isinstance(seen, Inputs) or not seen.kept or not are_scores(group[0], plan):
        return None
    return score_stairs(seen.samples(), statistics[group[0]], Scheme(format, symmetric=True))
