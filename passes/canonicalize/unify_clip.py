"""Spell clamps as Relu, or as Clip with scalar constant bounds, and merge chains of them.

    min(max(x, a), b) == clip(x, a, b)     clip(x, 0, inf) == relu(x)
    clip(clip(x, a, b), c, d) == clip(x, clip(a, c, d), clip(b, c, d))        for a <= b
    clip(x, a, b) == clip(x, b, b) == b                                       for a > b

Exact: no value is rounded. Float tensors only; PRelu and LeakyRelu are no clamps and stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import constant, detach, given, producer, read_once, scalar, static_shape


class Clamp(NamedTuple):
    source: gs.Tensor
    low: float
    high: float


@dataclass(frozen=True)
class UnifyClip(Pass):
    """Ensures: a clamp with constant scalar bounds is a Relu or a Clip with both bounds."""

    name: ClassVar[str] = "unify-clip"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        notes = []
        modified = False
        for node in graph.toposort().nodes:
            clamp = find(node)
            if clamp is None:
                continue
            first = find(producer(clamp.source)) if producer(clamp.source) is not None else None
            if first is not None and not read_once(graph, clamp.source):
                text = f"stays behind another clamp: {clamp.source.name} is used elsewhere too"
                notes.append(self.note(node.name, "stays", text))
                first = None
            if first is not None:
                inner = producer(clamp.source)
                clamp = merge(first, clamp)
                write(graph, node, clamp)
                detach(inner)
                modified = True
            elif not is_unified(node, clamp):
                write(graph, node, clamp)
                modified = True
        return work.result(modified, notes)


def find(node: gs.Node) -> Clamp | None:
    """The clamp that the node computes, or None."""
    if not node.outputs or node.outputs[0].dtype not in (np.float32, np.float16, np.float64):
        return None
    match node.op:
        case "Relu":
            return Clamp(node.inputs[0], 0.0, np.inf)
        case "Clip":
            low, high = bound(given(node, 1), -np.inf), bound(given(node, 2), np.inf)
            if low is None or high is None or np.isnan((low, high)).any():
                return None
            return Clamp(node.inputs[0], min(low, high), high)
        case "Max":
            operand = scalar_operand(node)
            return None if operand is None else Clamp(operand[0], operand[1], np.inf)
        case "Min":
            operand = scalar_operand(node)
            return None if operand is None else Clamp(operand[0], -np.inf, operand[1])
    return None


def bound(tensor: gs.Tensor | None, default: float) -> float | None:
    """The value of an optional bound; None where it is computed."""
    return default if tensor is None else scalar(tensor)


def scalar_operand(node: gs.Node) -> tuple[gs.Tensor, float] | None:
    """The tensor and the number of Min(x, number) or Max(number, x), where the number does not widen the shape."""
    if len(node.inputs) != 2:
        return None
    for source, other in (tuple(node.inputs), tuple(reversed(node.inputs))):
        value = scalar(other)
        if value is None or isinstance(source, gs.Constant):
            continue
        if static_shape(source) is not None and static_shape(source) == static_shape(node.outputs[0]):
            return source, value
    return None


def merge(first: Clamp, second: Clamp) -> Clamp:
    low, high = np.clip([first.low, first.high], second.low, second.high)
    return Clamp(first.source, float(low), float(high))


def is_unified(node: gs.Node, clamp: Clamp) -> bool:
    if node.op == "Relu":
        return True
    bounds = [given(node, i) for i in (1, 2)]
    scalars = all(tensor is not None and static_shape(tensor) == () for tensor in bounds)
    return node.op == "Clip" and scalars and (clamp.low, clamp.high) != (0, np.inf)


def write(graph: gs.Graph, node: gs.Node, clamp: Clamp) -> None:
    if (clamp.low, clamp.high) == (0, np.inf):
        node.op, node.inputs = "Relu", [clamp.source]
        return
    dtype = node.outputs[0].dtype
    bounds = [
        constant(graph, f"{node.name}.{role}", np.array(value, dtype))
        for role, value in (("min", clamp.low), ("max", clamp.high))
    ]
    node.op, node.inputs = "Clip", [clamp.source, *bounds]
