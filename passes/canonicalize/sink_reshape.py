"""Move a Reshape behind a linear node past the elementwise operators that follow it.

    f(reshape(x)) == reshape(f(x))        f of one tensor, elementwise, other operands scalar

So that the activation meets the Gemm it belongs to, and a Reshape meets the next one. Exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.layout import BROADCAST, UNARY
from bevel.passes.canonicalize.linear import LINEAR
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import producer, read_once, scalar, static_shape, variable


@dataclass(frozen=True)
class SinkReshape(Pass):
    name: ClassVar[str] = "sink-reshape"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        modified = False
        for node in list(graph.toposort().nodes):
            place = operand(node)
            if place is None:
                continue
            reshape = find(graph, node.inputs[place])
            if reshape is not None:
                swap(graph, reshape, node, place)
                modified = True
        return work.result(modified)


def operand(node: gs.Node) -> int | None:
    """The input that is not a scalar constant, where the node is elementwise in just that one."""
    if node.op in UNARY:
        return 0
    if node.op not in BROADCAST:
        return None
    others = [i for i, tensor in enumerate(node.inputs) if scalar(tensor) is None]
    if len(others) != 1 or static_shape(node.inputs[others[0]]) != static_shape(node.outputs[0]):
        return None
    return others[0]


def find(graph: gs.Graph, tensor: gs.Tensor) -> gs.Node | None:
    """The Reshape that gives `tensor` to one reader and follows a linear node, or what has moved up to one."""
    reshape = producer(tensor)
    if reshape is None or reshape.op != "Reshape" or not read_once(graph, tensor):
        return None
    maker = producer(reshape.inputs[0])
    while maker is not None and maker.op not in LINEAR and (place := operand(maker)) is not None:
        maker = producer(maker.inputs[place])
    return reshape if maker is not None and maker.op in LINEAR else None


def swap(graph: gs.Graph, reshape: gs.Node, node: gs.Node, place: int) -> None:
    """x, Reshape, node  becomes  x, node, Reshape."""
    source, between, result = reshape.inputs[0], reshape.outputs[0], node.outputs[0]
    moved = variable(graph, f"{node.name}.rows", result.dtype, static_shape(source) or ())
    node.inputs[place] = source
    node.outputs = [moved]
    reshape.inputs[0] = moved
    reshape.outputs = [result]
    between.inputs.clear()
