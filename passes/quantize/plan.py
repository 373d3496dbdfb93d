"""What is quantized: which nodes run in integers, where quantizers stand, and which tensors share a scale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Note
from bevel.passes.graph.regions import casts_pixels, is_elementwise, tensor_roots
from bevel.passes.operators import find_operator
from bevel.passes.operators.base import Match, Operator, Reason, State, stays_float
from bevel.passes.quantize.divisors import find_divisors
from bevel.passes.quantize.pixels import fixed_pixels

Taken = tuple[Operator, Match]

PASS = "quantize"  # whose notes these are


class Tied(NamedTuple):
    """The points that an operator's definition ties: its result and inputs, and whether inputs can be rescaled."""

    result: str
    inputs: list[str]
    rescales: bool


@dataclass
class QuantizationPlan:
    """taken: operators by node name. points: tensors to quantize, in graph order. ties: groups of points that share a
    format, and one scale but for what `joins` says: by the result of an operator that can rescale, its inputs. firm:
    of each point, the group that is left without the joins."""

    taken: dict[str, Taken] = field(default_factory=dict)
    points: dict[str, gs.Tensor] = field(default_factory=dict)
    ties: list[list[str]] = field(default_factory=list)
    firm: dict[str, list[str]] = field(default_factory=dict)
    joins: dict[str, list[str]] = field(default_factory=dict)
    fixed: dict[str, tuple[float, int]] = field(default_factory=dict)  # by point
    fused: dict[str, str] = field(default_factory=dict)  # Relu or Clip, and the operator that clamps for it
    moved: set[str] = field(default_factory=set)  # points whose values are other points' values of their tie
    int8_only: set[str] = field(default_factory=set)  # points of operators that have no kernel beyond int8
    unrounded: dict[str, set[str]] = field(default_factory=dict)  # readers whose table is of the function as a whole
    divisors: set[str] = field(default_factory=set)  # points of which a 0 would make no finite number
    coded: set[str] = field(default_factory=set)  # points of operators that need every integer of int16 to be a code
    powers: set[str] = field(
        default_factory=set
    )  # those of them that may be powers of two: no such operator reads them
    leaving: set[str] = field(default_factory=set)  # points that are outputs of the model
    results: set[str] = field(default_factory=set)  # points that leave the model and that nothing computes with
    pixels: set[str] = field(default_factory=set)  # points that are 8-bit integers, made floats
    carried: set[str] = field(default_factory=set)  # nodes that move floats to an output of the model
    raw: set[str] = field(default_factory=set)  # points that leave the model as the floats that they are
    shared: list[Tied] = field(default_factory=list)  # further points that share a scale
    states: list[State] = field(default_factory=list)  # what operators keep from step to step
    kept: set[str] = field(default_factory=set)  # points, and constants, that such a state begins with or leaves as
    inner: dict[str, str] = field(default_factory=dict)  # nodes that are part of an operator, and its last node
    float_activations: bool = False  # weights alone are quantized, and nothing is a point
    notes: list[Note] = field(default_factory=list)

    def ties_into(self, node: gs.Node, members: set[str]) -> bool:
        """Whether an operator that reads one of the tied `members` makes another of them, or carries it away."""
        return node.name in self.carried or (
            node.name in self.taken and any(tensor.name in members for tensor in node.outputs)
        )


def make_plan(graph: gs.Graph, states: Mapping[str, str] | None = None) -> QuantizationPlan:
    """`states`: the inputs that are outputs of the run before, and which: both sides of a pair share a scale, so that
    what is dequantized at the end of a run is quantized to the same integers at the beginning of the next."""
    outputs = {tensor.name for tensor in graph.outputs}
    found = {node.name: whole_operator(node, outputs) for node in graph.nodes}
    fused = dict(fused_activations(graph, found, outputs))
    plan = QuantizationPlan(fused=fused)
    plan.taken = {name: one for name, one in found.items() if not isinstance(one, Reason)}
    several = {name for name, (operator, match) in plan.taken.items() if operator.covers(match)}
    roots = tensor_roots(graph.nodes, frozenset(several.union(fused)))
    for node in graph.nodes:  # regions and fused activations are not operators of their own
        if node.name in fused or node.outputs[0].name in roots:
            plan.taken.pop(node.name, None)
    for name in covered(plan.taken.values()):
        plan.taken.pop(name, None)
    for part, name in inner_parts(plan.taken):
        plan.taken.pop(part.name, None)
        roots.pop(part.outputs[0].name, None)
        plan.inner[part.name] = name
    stay_float(graph, plan, found, fused, roots)

    ends = region_ends(graph, roots, outputs)
    wanted: set[str] = set()
    for node in graph.nodes:
        if node.name in plan.taken:
            _, match = plan.taken[node.name]
            wanted |= {tensor.name for tensor in match.inputs if is_activation(tensor)}
            wanted |= {result_of(output, fused).name for output in node.outputs}
    wanted |= ends | {roots[end].name for end in ends}
    plan.points = {tensor.name: tensor for tensor in float_tensors(graph) if tensor.name in wanted}
    plan.fixed = dict(fixed_outputs(plan))
    plan.pixels = {node.outputs[0].name for node in graph.nodes if casts_pixels(node)} & plan.points.keys()
    plan.fixed |= fixed_pixels(plan.points, {end: roots[end] for end in ends}, graph.opset)
    plan.moved = {tensor.name for one in plan.taken.values() if one[0].moves(one[1]) for tensor in one[1].node.outputs}
    plan.int8_only = {name for one in plan.taken.values() if not beyond_int8(one[0]) for name in touched(plan, *one)}
    plan.coded = {name for one in plan.taken.values() if one[0].wide_codes for name in touched(plan, *one)}
    plan.coded |= set(table_points(plan, roots, ends))
    plan.powers = set(powers_made(plan)) & plan.coded - set(table_points(plan, roots, ends))
    plan.unrounded = {end: inside(plan.points[end], roots) for end in ends}
    plan.divisors = set(find_divisors(graph, plan.points, {end: roots[end] for end in ends}))
    plan.leaving = outputs & plan.points.keys()
    plan.shared += [
        Tied(out, [into], False) for into, out in (states or {}).items() if {into, out} <= plan.points.keys()
    ]
    plan.states = [state for operator, match in plan.taken.values() for state in operator.states(match)]
    group_points(plan)
    plan.notes += [Note(PASS, name, "changed", f"fused into {producer}") for name, producer in fused.items()]
    plan.notes += [
        Note(PASS, name, "changed", f"part of the operator that ends in {last}") for name, last in plan.inner.items()
    ]
    return plan


def beyond_int8(operator: Operator) -> bool:
    return operator.wide or operator.wide_codes


def touched(plan: QuantizationPlan, operator: Operator, match: Match) -> Iterator[str]:
    """What an operator reads and makes."""
    yield from (tensor.name for tensor in match.inputs if is_activation(tensor))
    yield from (result_of(tensor, plan.fused).name for tensor in match.node.outputs)


def powers_made(plan: QuantizationPlan) -> set[str]:
    """What operators make that can make powers of two, and no operator reads that needs every integer to be a code."""
    taken = plan.taken.values()
    made = {
        result_of(one, plan.fused).name for operator, found in taken if operator.powers for one in found.node.outputs
    }
    return made - {one.name for operator, found in taken if operator.wide_codes for one in found.inputs}


def table_points(plan: QuantizationPlan, roots: dict[str, gs.Tensor], ends: set[str]) -> Iterator[str]:
    """What tables read and make; a lone Relu or Clip needs no table."""
    for end in ends:
        (node,) = plan.points[end].inputs
        if node.op not in ("Relu", "Clip") or node.inputs[0] is not roots[end]:
            yield from (end, roots[end].name)


def is_activation(tensor: gs.Tensor) -> bool:
    return isinstance(tensor, gs.Variable) and not tensor.is_empty() and tensor.dtype == np.float32


def float_tensors(graph: gs.Graph) -> Iterator[gs.Tensor]:
    yield from (tensor for tensor in graph.inputs if is_activation(tensor))
    yield from (tensor for node in graph.nodes for tensor in node.outputs if is_activation(tensor))


def fused_activations(
    graph: gs.Graph, found: dict[str, Taken | Reason], outputs: set[str]
) -> Iterator[tuple[str, str]]:
    """(Relu or Clip, the operator that clamps for it) where nothing else reads what lies between."""
    functions_of_one = tensor_roots(graph.nodes, frozenset())
    for node in graph.nodes:
        if node.op not in ("Relu", "Clip") or not is_elementwise(node):
            continue
        between = node.inputs[0]
        if len(between.inputs) != 1 or len(between.outputs) != 1 or between.name in outputs:
            continue
        producer = between.inputs[0]
        match found[producer.name]:
            # A product or sum of one tensor and scalars is a table, which takes the activation in as well.
            case (operator, match) if operator.clamps:
                if between.name not in functions_of_one or operator.covers(match):
                    yield node.name, producer.name


def result_of(tensor: gs.Tensor, fused: dict[str, str]) -> gs.Tensor:
    """Where the result of a node that makes `tensor` is quantized: behind its fused activation, if it has one."""
    if len(tensor.outputs) == 1 and tensor.outputs[0].name in fused:
        result: gs.Tensor = tensor.outputs[0].outputs[0]
        return result
    return tensor


def inside(tensor: gs.Tensor, roots: dict[str, gs.Tensor]) -> set[str]:
    """The readers of `tensor` that belong to the same region."""
    root = roots[tensor.name]
    return {node.name for node in tensor.outputs if node.outputs and roots.get(node.outputs[0].name) is root}


def region_ends(graph: gs.Graph, roots: dict[str, gs.Tensor], outputs: set[str]) -> set[str]:
    """What a table makes: tensors of a region that leave the model, or that something else than their region reads."""
    return {
        tensor.name
        for node in graph.nodes
        for tensor in node.outputs
        if tensor.name in roots and (tensor.name in outputs or ends_here(tensor, roots))
    }


def ends_here(tensor: gs.Tensor, roots: dict[str, gs.Tensor]) -> bool:
    return not tensor.outputs or not {node.name for node in tensor.outputs} <= inside(tensor, roots)


def whole_operator(node: gs.Node, outputs: set[str]) -> Taken | Reason:
    """The operator at a node; one of several nodes only where none before the last makes an output of the model."""
    match find_operator(node):
        case (operator, match) if outputs & {one.name for part in operator.covers(match) for one in part.outputs}:
            return find_operator(node, alone=True)
        case found:
            return found


def inner_parts(taken: Mapping[str, Taken]) -> list[tuple[gs.Node, str]]:
    """Nodes that are part of an operator behind them, with its name."""
    return [(part, name) for name, (operator, match) in taken.items() for part in operator.covers(match)]


def covered(taken: Iterable[Taken]) -> set[str]:
    """Nodes that are part of another node's match: the MatMul of a MatMul + Add."""
    return {
        tensor.inputs[0].name
        for _, match in taken
        for tensor in match.node.inputs
        if match.node.op == "Add" and len(match.inputs) == 3 and tensor.inputs and tensor.inputs[0].op == "MatMul"
    }


def stay_float(
    graph: gs.Graph,
    plan: QuantizationPlan,
    found: dict[str, Taken | Reason],
    fused: dict[str, str],
    roots: dict[str, gs.Tensor],
) -> None:
    """Drop what stands between float operators only: quantizing there would cost accuracy and buy nothing."""
    outputs = {tensor.name for tensor in graph.outputs}

    def floating(node: gs.Node) -> bool:
        apart = node.name not in plan.taken and node.name not in fused and node.outputs[0].name not in roots
        return apart and not casts_pixels(node) and node.name not in plan.inner

    for node in graph.nodes:
        reason = found[node.name]
        if floating(node) and isinstance(reason, Reason) and is_activation(node.outputs[0]):
            plan.notes.append(stays_float(PASS, node.name, reason))
    changed = True
    while changed:
        changed = False
        for node in graph.nodes:
            if floating(node) or node.name in fused or node.name in plan.inner or has_weights(node, plan):
                continue
            sources = [tensor.inputs for tensor in node.inputs if is_activation(tensor)]
            readers = [reader for tensor in node.outputs for reader in tensor.outputs]
            behind = sources and all(len(one) == 1 and floating(one[0]) for one in sources)
            before = readers and all(map(floating, readers)) and not outputs & {tensor.name for tensor in node.outputs}
            if behind and (before or ends(node, plan)):
                plan.taken.pop(node.name, None)
                for tensor in node.outputs:
                    roots.pop(tensor.name, None)
                plan.notes.append(Note(PASS, node.name, "left_float", "it stands between float operators"))
                changed = True


def ends(node: gs.Node, plan: QuantizationPlan) -> bool:
    """Whether nothing behind the node gains by its integers: its result is no activation."""
    return node.name in plan.taken and plan.taken[node.name][0].ends


def has_weights(node: gs.Node, plan: QuantizationPlan) -> bool:
    if node.name not in plan.taken:
        return False
    operator, match = plan.taken[node.name]
    return any(operator.weight_axis(match, index) is not None for index in range(len(match.inputs)))


def product_readers(point: str, plan: QuantizationPlan) -> dict[str, Operator]:
    """The nodes that multiply a point by weights, a MatMul before its constant Add among them, and their operators."""
    found = {}
    for node in plan.points[point].outputs:
        behind = [reader.name for reader in node.outputs[0].outputs] if node.op == "MatMul" and node.outputs else []
        for name in (node.name, *behind):
            if name in plan.taken and any(one is plan.points[point] for one in plan.taken[name][1].inputs):
                operator, match = plan.taken[name]
                if any(operator.weight_axis(match, index) is not None for index in range(len(match.inputs))):
                    found[node.name] = operator
    return found


def group_points(plan: QuantizationPlan) -> None:
    """Which points share a scale, and which of them only leave the model."""
    tied = [*tied_points(plan), *plan.shared]
    plan.results = results_of(tie_groups(plan, tied), plan)
    tied += list(tied_states(plan))
    plan.joins = {one.result: one.inputs for one in tied if one.rescales}
    plan.ties = tie_groups(plan, tied)
    firm = tie_groups(plan, [one for one in tied if not one.rescales])
    plan.firm = {name: group for group in firm for name in group}
    plan.results = results_of(plan.ties, plan)


def results_of(groups: list[list[str]], plan: QuantizationPlan) -> set[str]:
    return {name for group in groups if only_leaves(group, plan) for name in group}


def tied_states(plan: QuantizationPlan) -> Iterator[Tied]:
    """A state that begins as a tensor and leaves the model shares its scale, so that it may begin the next run; others,
    with which something is computed, have their own."""
    for state in plan.states:
        plan.kept.add(state.initial.name)
        if state.final.name in plan.results and state.initial.name in plan.points:
            plan.kept.add(state.final.name)
            yield Tied(state.final.name, [state.initial.name], False)


def tied_points(plan: QuantizationPlan) -> Iterator[Tied]:
    for operator, match in plan.taken.values():
        inputs = [tensor.name for tensor in operator.tied(match) if tensor.name in plan.points]
        results = [result_of(tensor, plan.fused).name for tensor in match.node.outputs]
        if inputs:
            yield from (Tied(one, inputs, operator.rescales) for one in results if one in plan.points)


def tie_groups(plan: QuantizationPlan, tied: Iterable[Tied]) -> list[list[str]]:
    """The points in groups that share a scale, by union of ties; lone points are groups of one."""
    leader = {name: name for name in plan.points}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]  # halves the way for who comes next
            name = leader[name]
        return name

    for one in tied:
        for name in (*one.inputs[1:], one.result):
            leader[find(name)] = find(one.inputs[0])
    groups: dict[str, list[str]] = {}
    for name in plan.points:
        groups.setdefault(find(name), []).append(name)
    return list(groups.values())


def only_leaves(group: list[str], plan: QuantizationPlan) -> bool:
    """Whether the group holds an output of the model, and no operator but those that tie it reads any of it."""
    members = set(group)
    readers = [node for name in group for node in plan.points[name].outputs]
    return bool(members & plan.leaving) and all(plan.ties_into(node, members) for node in readers)


def fixed_outputs(plan: QuantizationPlan) -> Iterator[tuple[str, tuple[float, int]]]:
    for operator, match in plan.taken.values():
        fixed = operator.fixed_output(match)
        if fixed is not None:
            yield match.node.outputs[0].name, fixed
