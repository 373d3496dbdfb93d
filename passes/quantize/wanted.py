"""What quantizing needs to have seen, and of which tensors: of a canonical float graph, as it will be quantized."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_graphsurgeon as gs

from bevel.calib.observe.base import Want
from bevel.calib.observe.mean import Mean
from bevel.calib.observe.statistics import RANGE
from bevel.passes.operators.base import Match
from bevel.passes.quantize.plan import make_plan
from bevel.passes.quantize.round_weights import constant_bias, is_constant, summed_axis

Wants = dict[str, tuple[Want, ...]]
Ask = Callable[[gs.Graph], Wants]


def ranges(graph: gs.Graph) -> Wants:
    """The range of every tensor that gets a scale, of what a Clip leaves of an input, and of what operators keep."""
    plan = make_plan(graph)
    found: Wants = dict.fromkeys(plan.points, (RANGE,))
    for state in plan.states:
        found[state.observed] = tuple(dict.fromkeys((*found[state.observed], state.want)))
    for tensor in graph.inputs:
        found |= {node.outputs[0].name: (RANGE,) for node in tensor.outputs if node.op == "Clip"}
    return found


def means(graph: gs.Graph) -> Wants:
    """The channel means, and the range, of what is multiplied with constant weights and gets a constant bias."""
    found: Wants = {}
    for match in biased(graph):
        name, mean = match.inputs[0].name, Want(Mean, (summed_axis(match),))
        found[name] = tuple(dict.fromkeys((*found.get(name, (RANGE,)), mean)))
    return found


def biased(graph: gs.Graph) -> Iterator[Match]:
    for operator, match in make_plan(graph).taken.values():
        weights = [one for place, one in enumerate(match.inputs) if operator.weight_axis(match, place) is not None]
        if constant_bias(operator, match) is not None and any(map(is_constant, weights)):
            yield match
