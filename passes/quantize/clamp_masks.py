"""What an additive mask bars from a Softmax is moved to where the Softmax just cannot see it.

A mask of -1e9 (or -inf, -10000) makes the range of the scores a billion wide, of which int8 has 255 steps. Softmax sees
differences to the largest value of a row alone: what lies ln(n) + `MARGIN` below it takes less than e**-MARGIN of the
row, all of it together. So with p the lowest largest value of any row in the calibration data, everything below
p - ln(n) - MARGIN may as well lie there.

A mask right before its Softmax is part of it (`bevel.passes.operators.functions.masks`), and sets no range; the scores
are held between p - ln(n) - MARGIN and the highest that is not barred, where that is much less than all of them.

Any other mask is clamped itself, wherever it enters: at an operand of an Add or Sub, at a branch of a Where, before a
scaling or a reshaping, constant or computed, and at an input of the model. Where a sum of a score and a mask is barred,
it is so for the highest score that was seen. Price: on data whose rows peak lower than any of the calibration data did,
by `MARGIN`, barred elements take a share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import Runs
from bevel.calib.observe.base import Want
from bevel.calib.observe.extremes import BARRED, Extremes
from bevel.calib.observe.observe import observe
from bevel.calib.observe.statistics import Statistics
from bevel.passes.base import Condition, Note, Pass, PassResult, Stage, Work
from bevel.passes.conditions import FLOAT, SAMPLED, STATIC_SHAPES
from bevel.passes.graph.edit import producer
from bevel.passes.operators.base import Reason
from bevel.passes.operators.functions.masks import Masked, find_masked

MARGIN = 10.0
GAIN = 2.0  # how much narrower the scores' range must become
SCALINGS = (2.0**-10, 2.0**10)  # factors that scale scores; others make masks of ones and zeros
MOVES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Identity", "Flatten"})
PRODUCTS = frozenset({"MatMul", "Gemm", "Conv"})


@dataclass(frozen=True)
class Edge:
    """One input of a node, and what its values may be clamped to: from below, or from above."""

    node: gs.Node
    index: int
    bound: float
    below: bool = True

    @property
    def tensor(self) -> gs.Tensor:
        return self.node.inputs[self.index]

    def at(self, node: gs.Node, index: int, bound: float, flipped: bool = False) -> Edge:
        return Edge(node, index, bound, self.below != flipped)


@dataclass(frozen=True)
class ClampMasks(Pass):
    """The data are run through the graph if it has a Softmax behind a sum or a Where."""

    name: ClassVar[str] = "clamp-masks"
    stage: ClassVar[Stage] = "transform"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES, FLOAT, SAMPLED)

    def call(self, work: Work) -> PassResult:
        notes = clamp_masks(work.graph, work.samples)
        return work.result(any(note.kind == "changed" for note in notes), notes)


def clamp_masks(graph: gs.Graph, dataset: Runs) -> list[Note]:
    """Edit `graph`, canonical and float. `dataset` is run through it if it has a Softmax behind a sum or a Where."""
    outputs = {tensor.name for tensor in graph.outputs}
    sites = [node for node in graph.nodes if node.op == "Softmax" and find_terms(node, outputs)]
    if not sites:
        return []
    near = [(node.name, reason) for node in sites if isinstance(reason := find_masked(node), Reason)]
    missed = [Note(ClampMasks.name, name, "refused", str(reason)) for name, reason in near]
    rows: dict[str, int | None] = {}
    for node in sites:
        rows |= dict.fromkeys(tensor.name for tensor in find_terms(node, outputs))
        rows[node.inputs[0].name] = int(node.attrs.get("axis", -1))
    wanted = {name: [Want(Extremes, (axis,))] for name, axis in rows.items()}
    observed = observe(gs.export_onnx(graph), dataset, wanted)
    seen = {name: observed[name].one(Extremes, axis) for name, axis in rows.items() if name in observed}
    return missed + [note for node in sites if (note := clamp_site(graph, node, seen, outputs)) is not None]


def clamp_site(graph: gs.Graph, softmax: gs.Node, seen: Mapping[str, Extremes], outputs: set[str]) -> Note | None:
    """Clamp what the mask of one Softmax bars, if that narrows the range of the scores."""
    scores = softmax.inputs[0]
    found, n = seen[scores.name], scores.shape[int(softmax.attrs.get("axis", -1))]
    bound = lowest_seen(found, n)
    masked = find_masked(softmax)
    if isinstance(masked, Masked) and bound is not None:
        within = (bound / masked.factor, found.high / masked.factor)
        if not list(find_masks(Edge(masked.node, masked.place, within[0]), seen, outputs)):
            return clamp_scores(graph, softmax, masked, within, seen)
    if bound is None or found.high - found.low <= GAIN * (found.high - bound):
        return None
    edges = list(find_masks(Edge(softmax, 0, bound), seen, outputs))
    if not edges:
        return None
    for edge in edges:
        clamp(graph, edge)
    if lowest(softmax.inputs[0], seen, outputs) < bound:
        clamp(graph, Edge(softmax, 0, bound))
    return Note(
        ClampMasks.name,
        softmax.name,
        "changed",
        f"its mask reaches to {found.low:.3g}: clamped, as nothing below {bound:.4g} takes a share of any row "
        f"(no row's largest score was below {found.lowest_peak:.4g})",
        {"lowest": found.low, "clamped_at": bound, "lowest_peak": found.lowest_peak},
    )


def clamp_scores(
    graph: gs.Graph, softmax: gs.Node, masked: Masked, within: tuple[float, float], seen: Mapping[str, Extremes]
) -> Note | None:
    """Hold the scores before a mask within bounds, if they reach much farther."""
    low, high = range_of(masked.scores, seen)
    if high - low <= GAIN * (within[1] - within[0]):
        return None
    hold(graph, masked.node, masked.place, within)
    text = (
        f"its scores reach from {low:.4g} to {high:.4g}: held within {within[0]:.4g} and {within[1]:.4g}, as nothing "
        "below takes a share of any row, and nothing above is not barred"
    )
    numbers = {"lowest": low, "highest": high, "held_above": within[0], "held_below": within[1]}
    return Note(ClampMasks.name, softmax.name, "changed", text, numbers)


def lowest_seen(found: Extremes, n: int) -> float | None:
    """What a Softmax over `n` elements cannot tell from all below it."""
    bound = found.lowest_peak - log(n) - MARGIN
    return bound if np.isfinite(bound) and np.isfinite(found.high) else None


# Finding: from the Softmax towards what made the scores


def find_terms(softmax: gs.Node, outputs: set[str]) -> list[gs.Variable]:
    """The computed tensors between a Softmax and its scores and masks; none where no sum and no Where is among them."""
    terms: list[gs.Variable] = []
    summed, pending = False, [softmax.inputs[0]]
    while pending:
        tensor = pending.pop()
        if not isinstance(tensor, gs.Variable) or tensor.is_empty() or tensor.dtype != np.float32:
            continue
        terms.append(tensor)
        node = inner(tensor, outputs)
        if node is not None:
            summed |= node.op in ("Add", "Sub", "Where")
            pending += node.inputs
    return terms if summed else []


def inner(tensor: gs.Tensor, outputs: set[str]) -> gs.Node | None:
    """The node that makes `tensor`, if it is one to look behind, and nothing else reads what it makes."""
    node = producer(tensor)
    if node is None or len(tensor.outputs) != 1 or tensor.name in outputs:
        return None
    if (
        node.op in ("Add", "Sub", "Where", "Max", "Clip")
        or node.op in MOVES
        or (node.op in ("Mul", "Div") and scaling(node))
    ):
        return node
    return None


def scaling(node: gs.Node) -> tuple[int, float] | None:
    """Which input a node scales by a constant, and by how much; None where it does something else."""
    for index, other in ((0, 1), (1, 0)):
        constant = node.inputs[other]
        if not isinstance(constant, gs.Constant) or constant.values.size != 1 or (node.op == "Div" and index):
            continue
        factor = float(constant.values.ravel()[0])
        factor = 1 / factor if node.op == "Div" and factor else factor
        if SCALINGS[0] <= abs(factor) <= SCALINGS[1]:
            return index, factor
    return None


def find_masks(edge: Edge, seen: Mapping[str, Extremes], outputs: set[str]) -> Iterator[Edge]:
    """The inputs, as far from the Softmax as possible, that hold values beyond what is to be told apart."""
    low, high = range_of(edge.tensor, seen)
    if (low >= edge.bound) if edge.below else (high <= edge.bound):
        return
    node = inner(edge.tensor, outputs)
    if node is None:
        if is_mask(edge.tensor, low if edge.below else -high):
            yield edge
        return
    for operand in operands(edge, node, seen):
        yield from find_masks(operand, seen, outputs)


def operands(edge: Edge, node: gs.Node, seen: Mapping[str, Extremes]) -> Iterator[Edge]:
    """The inputs of `node`, with the bounds that bar its result, whatever the other input is."""
    if node.op in ("Add", "Sub"):
        for index, other in ((0, 1), (1, 0)):
            low, high = range_of(node.inputs[other], seen)
            farthest = high if edge.below else low  # of the other input, as it brings the sum back
            if node.op == "Add":
                yield edge.at(node, index, edge.bound - farthest)
            elif index == 0:
                yield edge.at(node, 0, edge.bound + (low if edge.below else high))
            else:
                yield edge.at(node, 1, farthest - edge.bound, flipped=True)
    elif node.op in ("Mul", "Div"):
        found = scaling(node)
        if found is not None:
            index, factor = found
            yield edge.at(node, index, edge.bound / factor, flipped=factor < 0)
    elif node.op == "Where":
        yield from (edge.at(node, index, edge.bound) for index in (1, 2))
    else:
        yield from (edge.at(node, index, edge.bound) for index in range(len(node.inputs) if node.op == "Max" else 1))


def range_of(tensor: gs.Tensor, seen: Mapping[str, Extremes]) -> tuple[float, float]:
    if isinstance(tensor, gs.Constant):
        return float(tensor.values.min()), float(tensor.values.max())
    found = seen.get(tensor.name, Extremes())
    return found.low, found.high


def is_mask(tensor: gs.Tensor, low: float) -> bool:
    """Whether values beyond the bound are there to bar elements: constants, and what no product makes."""
    if isinstance(tensor, gs.Constant):
        return True
    node = producer(tensor)
    return low <= BARRED and (node is None or node.op not in PRODUCTS)


# Changing


def lowest(tensor: gs.Tensor, seen: Mapping[str, Extremes], outputs: set[str]) -> float:
    """A lower bound of what a tensor holds now that masks are clamped."""
    node = producer(tensor)
    if node is not None and node.op == "Clip" and tensor.name not in seen:
        return max(float(node.inputs[1].values), lowest(node.inputs[0], seen, outputs))
    node = inner(tensor, outputs)
    if node is None or node.op not in ("Add", "Where"):
        return range_of(tensor, seen)[0]
    if node.op == "Add":
        return sum(lowest(one, seen, outputs) for one in node.inputs)
    return min(lowest(one, seen, outputs) for one in node.inputs[1:])


def clamp(graph: gs.Graph, edge: Edge) -> None:
    """Let the node read its input clamped."""
    tensor, bound = edge.tensor, np.float32(edge.bound)
    if isinstance(tensor, gs.Constant):
        side = np.maximum if edge.below else np.minimum
        values = np.asarray(side(tensor.values, bound), np.float32)
        edge.node.inputs[edge.index] = gs.Constant(f"{edge.node.name}/mask{edge.index}", values)
        return
    bounds = (float(bound), np.inf) if edge.below else (-np.inf, float(bound))
    hold(graph, edge.node, edge.index, bounds)


def hold(graph: gs.Graph, node: gs.Node, index: int, bounds: tuple[float, float]) -> None:
    """Let `node` read its input `index` within bounds."""
    tensor = node.inputs[index]
    clamped = gs.Variable(f"{node.name}/clamped{index}", np.float32, tensor.shape)
    constants = [
        gs.Constant(f"{clamped.name}/{role}", np.asarray(value, np.float32))
        for role, value in zip(("low", "high"), bounds, strict=True)
    ]
    graph.nodes.append(gs.Node("Clip", clamped.name, {}, [tensor, *constants], [clamped]))
    node.inputs[index] = clamped


def behind_clips(graph: gs.Graph, statistics: Mapping[str, Statistics]) -> Mapping[str, Statistics]:
    """`statistics` with those of inputs that only Clips read as the widest Clip leaves them: quantizers saturate."""
    widest: dict[str, Statistics] = {}
    for tensor in graph.inputs:
        clips = [node for node in tensor.outputs if node.op == "Clip" and node.outputs[0].name in statistics]
        if clips and len(clips) == len(tensor.outputs):
            one = min(clips, key=lambda clip: statistics[clip.outputs[0].name].low)
            widest[tensor.name] = statistics[one.outputs[0].name]
    return {**statistics, **widest}
