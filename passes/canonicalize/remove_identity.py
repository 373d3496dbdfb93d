"""Remove nodes that hand their first input on unchanged.

Identity and inference-time Dropout; Cast to the type it has; Pad by nothing; Transpose that permutes nothing;
Slice, Expand, Tile and Reshape to the shape it has; Concat (of which inputs without elements are left out), Sum, Max,
Min and Mean of one tensor; Clip without bounds; a reduction over no axes; Add or Sub of 0, Mul or Div by 1. Graph
inputs and outputs keep their names, so a node between one and the other stays, as Identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from onnx import helper

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, bypass, given, integers, scalar, static_shape, values

RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile"}
NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
COMMUTATIVE = {"Add", "Mul"}
REDUCTIONS = {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"}  # of one element, the element


@dataclass(frozen=True)
class RemoveIdentity(Pass):
    name: ClassVar[str] = "remove-identity"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)
    spells: ClassVar[dict[str, str]] = {"Identity": "", "Dropout": ""}

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        notes = []
        modified = False
        for node in alive(graph):
            modified |= (node.op == "Concat" and leave_empty_out(node)) or (node.op == "CastLike" and name_type(node))
            source = find(node)
            if source is None:
                continue
            op = node.op
            if obstacle := bypass(graph, node, source):
                notes.append(self.note(node.name, "stays", f"{op} that changes nothing stays: {obstacle}"))
                if op == "Identity":
                    continue
                node.op, node.attrs, node.inputs, node.outputs = "Identity", {}, [source], node.outputs[:1]
            modified = True
        return work.result(modified, notes)


def name_type(cast_like: gs.Node) -> bool:
    """Cast to the type by its name, in place of a tensor that has it; whether the type is known."""
    dtype = cast_like.outputs[0].dtype
    if dtype is None:
        return False
    attrs = {name: value for name, value in cast_like.attrs.items() if name == "saturate"}
    cast_like.op, cast_like.inputs = "Cast", cast_like.inputs[:1]
    cast_like.attrs = {**attrs, "to": helper.np_dtype_to_tensor_dtype(np.dtype(dtype))}
    return True


def leave_empty_out(concat: gs.Node) -> bool:
    """Drop inputs without elements, of which the result holds nothing; whether there were any."""
    filled = [tensor for tensor in concat.inputs if 0 not in (static_shape(tensor) or ())]
    if not filled or len(filled) == len(concat.inputs):
        return False
    concat.inputs = filled
    return True


def find(node: gs.Node) -> gs.Tensor | None:
    """The input that the node's output equals, or None."""
    if not node.inputs or any(tensor.outputs for tensor in node.outputs[1:]):
        return None
    if node.op in NEUTRAL:
        return neutral_operand(node)
    source = node.inputs[0]
    return source if changes_nothing(node) and not isinstance(source, gs.Constant) else None


def changes_nothing(node: gs.Node) -> bool:
    source, result = node.inputs[0], node.outputs[0]
    match node.op:
        case "Identity":
            return True
        case "Dropout":
            training = given(node, 2)
            return training is None or scalar(training) == 0
        case "Cast" | "CastLike":
            return source.dtype is not None and source.dtype == result.dtype
        case "Concat" | "Sum" | "Max" | "Min" | "Mean":
            return len(node.inputs) == 1
        case "Clip":
            return unbounded(given(node, 1), -np.inf) and unbounded(given(node, 2), np.inf)
        case "Pad":
            pads = integers(given(node, 1))
            return pads is not None and not any(pads)
        case "Transpose":
            return list(node.attrs.get("perm", [])) == list(range(len(result.shape or ()))) and same_shape(node)
        case "Slice":
            steps = given(node, 4)
            return same_shape(node) and (steps is None or all(step == 1 for step in integers(steps) or (0,)))
        case op if op in RESHAPES:
            return same_shape(node)
        case op if op in REDUCTIONS:
            return bool(node.attrs.get("noop_with_empty_axes", 0)) and not integers(given(node, 1))
    return False


def same_shape(node: gs.Node) -> bool:
    shape = static_shape(node.inputs[0])
    return shape is not None and shape == static_shape(node.outputs[0])


def unbounded(bound: gs.Tensor | None, limit: float) -> bool:
    return bound is None or scalar(bound) == limit


def neutral_operand(node: gs.Node) -> gs.Tensor | None:
    """What stays of x + 0, 0 + x, x - 0, x * 1, 1 * x and x / 1 where the constant does not widen the shape."""
    first, second = node.inputs
    pairs = [(first, second), (second, first)] if node.op in COMMUTATIVE else [(first, second)]
    for kept, other in pairs:
        array = values(other)
        if array is None or isinstance(kept, gs.Constant) or not (array == NEUTRAL[node.op]).all():
            continue
        shape = static_shape(kept)
        if shape is not None and shape == static_shape(node.outputs[0]):
            return kept
    return None
