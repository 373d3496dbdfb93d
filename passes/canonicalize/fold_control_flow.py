"""Static dataflow from If, Loop and Scan whose course no input's values decide.

    If (c) with c known            is the nodes of one branch
    Loop (m, c, v..) with m known  is m copies of the body, each reading what the one before made
    Scan over n slices             is n copies of the body, each reading one slice

Exact. Exporters leave an If behind where a shape was looked at (`squeeze` in TorchScript), and a Loop for a
`for` over a fixed range. Price: a copy of the body for each turn, so loops of many turns are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bevel.calib.errors import UserError
from bevel.passes.canonicalize.constant_values import constant_value, graphs_of, holds_graph, values

MAX_TURNS = 256
MAX_NODES = 20_000
FOLDED = frozenset(["If", "Loop", "Scan"])
CUT = "cut the model before it with --outputs-at, or export it without"


def fold_control_flow(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` (opset 13 or newer, inputs of static shape) without graphs inside nodes; itself where it has none.

    Raises UserError where the inputs' values decide what is computed, and for loops of too many turns.
    """
    if not any(map(holds_graph, model.graph.node)):
        return model
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    for serial in count():
        place = next((index for index, node in enumerate(folded.graph.node) if holds_graph(node)), None)
        if place is None:
            return folded
        replacement = expanded(folded, folded.graph.node[place], f"#{serial}")
        nodes = list(folded.graph.node)
        nodes[place : place + 1] = replacement.nodes
        if len(nodes) > MAX_NODES:
            raise UserError(f"its loops unrolled are {len(nodes)} nodes; up to {MAX_NODES} can be compiled")
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del folded.graph.node[:]
        folded.graph.node.extend(kept)
    raise AssertionError("unreachable")


@dataclass
class Expansion:
    """The nodes that take a node's place. `model` grows by the constants they read; `mark` makes their names new."""

    model: onnx.ModelProto
    node: onnx.NodeProto
    mark: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"node {self.node.name or self.node.output[0]} ({self.node.op_type})"

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"{output}/{op}", **attributes))
        return output

    def constant(self, name: str, value: object) -> str:
        full = f"{self.node.name or self.node.output[0]}{self.mark}/{name}"
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), full))
        return full

    def copy(self, body: onnx.GraphProto, turn: str, given: Iterable[str] = ()) -> list[str]:
        """The body's nodes, reading `given` as its inputs, under new names; the names of its outputs."""
        prefix = f"{self.node.name or self.node.output[0]}{self.mark}/{turn}"
        names = dict(zip((value.name for value in body.input), given, strict=True))
        inner = [tensor.name for tensor in body.initializer] + [name for node in body.node for name in node.output]
        names |= {name: f"{prefix}{name}" for name in inner if name}
        for tensor in body.initializer:
            self.model.graph.initializer.append(tensor)
            self.model.graph.initializer[-1].name = names[tensor.name]
        for node in body.node:
            self.nodes.append(renamed(node, names))
            self.nodes[-1].name = f"{prefix}{node.name or node.output[0]}"
        return [names.get(value.name, value.name) for value in body.output]

    def known(self, name: str) -> np.ndarray | None:
        """The value of a tensor that stands before the node or in its place, None where inputs decide it."""
        before = onnx.ModelProto()
        before.CopyFrom(self.model)
        before.graph.node.extend(self.nodes)
        return constant_value(before, name)

    def finish(self, results: Sequence[str], outputs: Sequence[str]) -> None:
        for result, output in zip(results, outputs, strict=True):
            if output:
                self.add("Identity", [result], output)


def renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    """A copy of the node, graphs inside it included, whose tensors have their new names."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    for graph in graphs_of(copy):
        own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        visible = {name: new for name, new in names.items() if name not in own}
        inner = [renamed(one, visible) for one in graph.node]
        del graph.node[:]
        graph.node.extend(inner)
        for value in graph.output:
            value.name = visible.get(value.name, value.name)
    return copy


def expanded(model: onnx.ModelProto, node: onnx.NodeProto, mark: str) -> Expansion:
    made = Expansion(model, node, mark)
    match node.op_type if not node.domain else None:
        case "If":
            take_branch(made)
        case "Loop":
            unroll_loop(made)
        case "Scan":
            unroll_scan(made)
        case _:
            raise UserError(f"{made.label} holds a graph; of such nodes {', '.join(sorted(FOLDED))} can be compiled")
    return made


def take_branch(made: Expansion) -> None:
    condition = made.known(made.node.input[0])
    if condition is None:
        raise UserError(f"{made.label}: the input's values decide its condition; {CUT}")
    wanted = "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
    made.finish(made.copy(graph_attribute(made.node, wanted), ""), made.node.output)


def unroll_loop(made: Expansion) -> None:
    trips, condition, *carried = made.node.input
    limit, running = made.known(trips) if trips else None, made.known(condition) if condition else np.array(True)
    if (trips and limit is None) or running is None:
        raise UserError(f"{made.label}: the input's values decide how often it runs; {CUT}")
    turns = int(limit.reshape(-1)[0]) if limit is not None else MAX_TURNS + 1
    body = graph_attribute(made.node, "body")
    state = list(carried)
    scanned: list[list[str]] = [[] for _ in body.output[1 + len(carried) :]]
    for turn in range(turns):
        if not bool(running.reshape(-1)[0]):
            break
        check_turns(made, turn)
        given = [made.constant(f"{turn}/turn", np.int64(turn)), made.constant(f"{turn}/goes_on", np.bool_(True))]
        goes_on, *results = made.copy(body, f"{turn}/", [*given, *state])
        state = results[: len(carried)]
        for slices, result in zip(scanned, results[len(carried) :], strict=True):
            slices.append(result)
        running = made.known(goes_on) if turn + 1 < turns else np.array(True)
        if running is None:
            raise UserError(f"{made.label}: the input's values decide when it ends; {CUT}")
    made.finish(state, made.node.output[: len(carried)])
    stack(made, scanned, [0] * len(scanned), made.node.output[len(carried) :])


def unroll_scan(made: Expansion) -> None:
    numbers = {one.name: helper.get_attribute_value(one) for one in made.node.attribute if one.name != "body"}
    body, slices = graph_attribute(made.node, "body"), int(numbers["num_scan_inputs"])
    state, sequences = list(made.node.input[:-slices]), list(made.node.input[-slices:])
    stacks = len(body.output) - len(state)
    axes = numbers.get("scan_input_axes", [0] * slices)
    backward = numbers.get("scan_input_directions", [0] * slices)
    length = sequence_length(made, sequences[0], axes[0])
    check_turns(made, length - 1)
    scanned: list[list[str]] = [[] for _ in range(stacks)]
    for turn in range(length):
        given = []
        for number, (sequence, axis, reverse) in enumerate(zip(sequences, axes, backward, strict=True)):
            index = made.constant(f"{turn}/{number}", np.int64(length - 1 - turn if reverse else turn))
            given.append(made.add("Gather", [sequence, index], f"{index}/slice", axis=axis))
        results = made.copy(body, f"{turn}/", [*state, *given])
        state = results[: len(state)]
        for found, result in zip(scanned, results[len(state) :], strict=True):
            found.append(result)
    made.finish(state, made.node.output[: len(state)])
    for found, reverse in zip(scanned, numbers.get("scan_output_directions", [0] * stacks), strict=True):
        if reverse:
            found.reverse()
    stack(made, scanned, numbers.get("scan_output_axes", [0] * stacks), made.node.output[len(state) :])


def stack(made: Expansion, scanned: list[list[str]], axes: Sequence[int], outputs: Sequence[str]) -> None:
    """Join what each turn made along a new axis."""
    for slices, axis, output in zip(scanned, axes, outputs, strict=False):
        if not output:
            continue
        if not slices:
            raise UserError(f"{made.label} makes no turn: its output {output} has no elements")
        place = made.constant(f"{output}/axis", np.array([axis], np.int64))
        parts = [made.add("Unsqueeze", [one, place], f"{output}/{turn}") for turn, one in enumerate(slices)]
        made.add("Concat", parts, output, axis=axis)


def sequence_length(made: Expansion, sequence: str, axis: int) -> int:
    before = next((value for value in made.model.graph.input if value.name == sequence), None)
    if before is not None:
        dims = before.type.tensor_type.shape.dim
        return int(dims[axis].dim_value)
    one, other = values(made.model, sequence)
    if one.shape != other.shape:
        raise UserError(f"{made.label}: the input's values decide how often it runs; {CUT}")
    return int(one.shape[axis])


def check_turns(made: Expansion, turn: int) -> None:
    if turn >= MAX_TURNS:
        raise UserError(f"{made.label} makes more than {MAX_TURNS} turns; each is a copy of its body: {CUT}")


def graph_attribute(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    graph: onnx.GraphProto = next(attribute.g for attribute in node.attribute if attribute.name == name)
    return graph
