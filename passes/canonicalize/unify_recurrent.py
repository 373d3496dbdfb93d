"""One spelling of LSTM, GRU and RNN: one direction each, no lengths that say nothing.

    bidirectional     a forward and a reverse node, whose outputs are concatenated along the axis of directions
    sequence_lens     left out where it is constant and every sequence is as long as all steps

Exact. A node of two directions whose weights are no plain constants stays, and so does one with lengths of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.arithmetic.float_cell import RECURRENT
from bevel.calib.arithmetic.gate_functions import FORMULAS, SPELLED, GateFunction, gate_functions
from bevel.passes.base import Condition, Note, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, constant, given, integers, static_shape, variable

DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
BIAS, LENGTHS, INITIAL, PEEPHOLES = 3, 4, 5, 7  # places of inputs
WEIGHTS = (1, 2, BIAS, PEEPHOLES)


@dataclass(frozen=True)
class UnifyRecurrent(Pass):
    name: ClassVar[str] = "unify-recurrent"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        notes: list[Note] = []
        modified = False
        for node in alive(work.graph):
            if node.op not in RECURRENT or node.domain:
                continue
            if says_all_steps(node):
                node.inputs[LENGTHS] = gs.Variable.empty()
                modified = True
            if direction_of(node) != "bidirectional":
                continue
            reason = obstacle(node)
            if reason is not None:
                notes.append(self.note(node.name, "stays", f"stays: {reason}"))
                continue
            split(work.graph, node)
            notes.append(self.note(node.name, "changed", "became a node for each direction"))
            modified = True
        return work.result(modified, notes)


def direction_of(node: gs.Node) -> str:
    return text(node.attrs.get("direction", "forward"))


def says_all_steps(node: gs.Node) -> bool:
    """Whether it has constant lengths, of as many steps as there are."""
    lengths, shape = integers(given(node, LENGTHS)), static_shape(node.inputs[0])
    if lengths is None or shape is None:
        return False
    return all(length == shape[0] for length in lengths)


def obstacle(node: gs.Node) -> str | None:
    """Why a node of two directions cannot become two."""
    if any(isinstance(given(node, place), gs.Variable) for place in WEIGHTS):
        return "its weights are no constants"
    if given(node, LENGTHS) is not None:
        return "its sequences have lengths of their own"
    names = names_of(node)
    unknown = [one for one in names if one.lower() not in SPELLED]
    return f"its function {unknown[0]} is none of ONNX's" if unknown else None


def names_of(node: gs.Node) -> list[str]:
    """Of its functions, of each direction."""
    ways = 2 if direction_of(node) == "bidirectional" else 1
    return [text(name) for name in node.attrs.get("activations", ways * DEFAULTS[node.op])]


def text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def split(graph: gs.Graph, node: gs.Node) -> None:
    """A node for each direction."""
    functions = gate_functions(
        names_of(node), node.attrs.get("activation_alpha", ()), node.attrs.get("activation_beta", ())
    )
    half = len(functions) // 2
    inputs, outputs, name = list(node.inputs), list(node.outputs), node.name
    attrs = {key: value for key, value in node.attrs.items() if not key.startswith("activation")}
    node.inputs.clear()
    node.outputs.clear()
    made: list[list[gs.Variable]] = []
    for place, direction in enumerate(("forward", "reverse")):
        label = f"{name}.{direction}"
        given_ones = [part_of(graph, label, tensor, index, place) for index, tensor in enumerate(inputs)]
        results = [part_result(graph, label, one, index) for index, one in enumerate(outputs)]
        of_functions = function_attributes(functions[place * half : (place + 1) * half])
        graph.nodes.append(
            gs.Node(node.op, label, attrs | of_functions | {"direction": direction}, given_ones, results)
        )
        made.append(results)
    for index, result in enumerate(outputs):
        if not result.is_empty():
            parts = [results[index] for results in made]
            append(graph, "Concat", f"{result.name}.join", parts, result, {"axis": 0 if index else 1})


def part_of(graph: gs.Graph, label: str, tensor: gs.Tensor, index: int, place: int) -> gs.Tensor:
    """What a direction reads of an input: its part along the first axis, but all of x."""
    if index == 0 or tensor.is_empty():
        return tensor
    if isinstance(tensor, gs.Constant):
        return constant(graph, f"{label}.{tensor.name}", tensor.values[place : place + 1])
    shape = static_shape(tensor) or ()
    part = variable(graph, f"{label}.{tensor.name}", tensor.dtype, (1, *shape[1:]))
    bounds = [
        constant(graph, f"{part.name}.{role}", np.array([value], np.int64))
        for role, value in (("start", place), ("end", place + 1), ("axis", 0))
    ]
    append(graph, "Slice", part.name, [tensor, *bounds], part)
    return part


def part_result(graph: gs.Graph, label: str, result: gs.Variable, index: int) -> gs.Variable:
    if result.is_empty():
        return gs.Variable.empty()
    shape = list(static_shape(result) or ())
    shape[0 if index else 1] = 1
    return variable(graph, f"{label}.{result.name}", result.dtype, shape)


def function_attributes(functions: Sequence[GateFunction]) -> dict[str, Any]:
    """The attributes that say the functions, with every parameter."""
    alphas = [one.alpha for one in functions if FORMULAS[one.name][1] is not None]
    betas = [one.beta for one in functions if FORMULAS[one.name][2] is not None]
    found: dict[str, Any] = {"activations": [one.name for one in functions]}
    return found | ({"activation_alpha": alphas} if alphas else {}) | ({"activation_beta": betas} if betas else {})
