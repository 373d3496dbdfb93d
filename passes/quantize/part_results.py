"""Results of the model that are put together of unlike parts keep the scale of each part.

A detector's boxes in pixels and its scores leave in one Concat. One scale for both leaves the scores no codes, and
nothing needs it: nobody computes with the whole. So the parts are quantized where they are made, and the floats are put
together of what they dequantize to; in integers the codes are put together, and dequantized with one scale for each
index along an axis (`bevel.passes.integerize.part_scales`). Parts that meet at one index (the boxes of several heads)
share a scale. Where no axis keeps unlike parts apart, each has its own, and floats are moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.formats.scheme import INT8_ACTIVATIONS, TensorQuant
from bevel.calib.observe.statistics import Statistics
from bevel.calib.scales.ranges import RangeMethod, activation_quant
from bevel.passes.base import Note
from bevel.passes.graph.moves import MoveChain, find_chain, groups_along
from bevel.passes.quantize.choose_scales import together
from bevel.passes.quantize.plan import PASS, QuantizationPlan, Tied, group_points
from bevel.passes.quantize.separate import MOST_LOST, decibels_lost, error_power

MOST_LOST_ALONG_AXIS = 2 * MOST_LOST  # dB: beyond it floats are moved, so that every part has its own scale

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Parting:
    """groups: leaves that share a scale. lost: the dB that one scale for all would cost the leaf that loses most."""

    groups: Groups
    loser: str
    lost: float


def part_results(
    graph: gs.Graph, plan: QuantizationPlan, statistics: Mapping[str, Statistics], method: RangeMethod
) -> None:
    """Change the plan for those outputs of `graph` whose parts would lose by one scale. What the next run takes as it
    is shares its scale with that input, whatever its parts are."""
    states = {one.result for one in plan.shared}
    for output in graph.outputs:
        chain = None if output.name in states else chain_of_points(output, plan)
        if chain is None:
            continue
        parting = decide(chain, statistics, method)
        if parting is not None:
            part(plan, chain, parting)
    group_points(plan)


def chain_of_points(output: gs.Tensor, plan: QuantizationPlan) -> MoveChain | None:
    """The movers before an output, if they put several quantized tensors together."""
    chain = find_chain(output, lambda tensor: tensor.inputs[0].name not in plan.taken)
    if (
        chain is None
        or len(chain.leaves) + len(chain.constants) < 2
        or any(leaf.name not in plan.points for leaf in chain.leaves)
    ):
        return None
    return chain


def decide(chain: MoveChain, statistics: Mapping[str, Statistics], method: RangeMethod) -> Parting | None:
    names = tuple(leaf.name for leaf in chain.leaves)
    known = {name: statistics[name] for name in names}
    known |= {one.name: Statistics.of(np.asarray(one.values)) for one in chain.constants}

    @cache
    def quant(group: tuple[str, ...]) -> TensorQuant:
        return activation_quant(together([known[name] for name in group]), INT8_ACTIVATIONS, method)

    def losses(groups: Groups) -> dict[str, float]:
        return {
            name: decibels_lost(known[name], error_power(known[name], quant((name,))), quant(group))
            for group in groups
            for name in group
        }

    alike = losses((tuple(known),))
    loser = max(alike, key=lambda name: alike[name])
    if alike[loser] <= MOST_LOST:
        return None
    alone = tuple((name,) for name in names)
    along = [] if chain.constants else [*groups_of_axes(chain, names)]  # constants stay the floats that they are
    best = min(along, key=lambda groups: max(losses(groups).values()), default=alone)
    if max(losses(best).values()) > MOST_LOST_ALONG_AXIS:
        best = alone
    return Parting(best, loser, alike[loser])


def groups_of_axes(chain: MoveChain, names: tuple[str, ...]) -> Iterator[Groups]:
    """For each axis, the leaves that would share a scale if there were one for each index along it."""
    origins = chain.origins()
    for axis in range(origins.ndim):
        yield tuple(tuple(names[place] for place in sorted(group)) for group in groups_along(origins, axis))


def part(plan: QuantizationPlan, chain: MoveChain, parting: Parting) -> None:
    """Leave the chain to move what its leaves dequantize to."""
    movers = {node.name for node in chain.nodes}
    for node in chain.nodes:
        for tensor in node.outputs:
            if all(reader.name in movers for reader in tensor.outputs):
                plan.points.pop(tensor.name, None)
            elif tensor.name in plan.points:
                plan.unrounded.setdefault(tensor.name, set()).update(movers)
                plan.raw.add(tensor.name)
        if not any(tensor.name in plan.points for tensor in node.outputs):
            plan.taken.pop(node.name, None)
            plan.carried.add(node.name)
    plan.shared += ties(parting.groups)
    plan.leaving |= {leaf.name for leaf in chain.leaves}
    plan.notes.append(
        Note(
            PASS,
            chain.nodes[-1].name,
            "chosen",
            f"its parts leave the model with {len(parting.groups)} scales of their own: "
            f"one for all would cost {parting.loser} {parting.lost:.1f} dB",
            {"scales": len(parting.groups), "one_scale_costs_db": parting.lost},
        )
    )


def ties(groups: Iterable[tuple[str, ...]]) -> Iterator[Tied]:
    yield from (Tied(first, rest, False) for first, *rest in groups if rest)
