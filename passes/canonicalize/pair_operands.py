"""Spell Sum, Mean, Max and Min of several tensors as a chain of operators on two: x + y + z == (x + y) + z.

Sum becomes Add, Mean Add and a product with the reciprocal of the count. Exact but for the order of a sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, constant, detach, static_shape, variable

PAIRWISE = {"Sum": "Add", "Mean": "Add", "Max": "Max", "Min": "Min"}


@dataclass(frozen=True)
class PairOperands(Pass):
    name: ClassVar[str] = "pair-operands"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)
    spells: ClassVar[dict[str, str]] = {"Sum": "Add", "Mean": "Add, Mul"}

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        found = [node for node in alive(graph) if is_several(node)]
        for node in found:
            pair(graph, node)
        return work.result(bool(found))


def is_several(node: gs.Node) -> bool:
    if node.op not in PAIRWISE or any(static_shape(tensor) is None for tensor in (*node.inputs, *node.outputs)):
        return False
    return len(node.inputs) > (2 if node.op in ("Max", "Min") else 1)


def pair(graph: gs.Graph, node: gs.Node) -> None:
    inputs, result, name, op = list(node.inputs), node.outputs[0], node.name, PAIRWISE[node.op]
    mean = node.op == "Mean"
    detach(node)
    total = inputs[0]
    for index, tensor in enumerate(inputs[1:], 1):
        last = index == len(inputs) - 1 and not mean
        shape = np.broadcast_shapes(static_shape(total) or (), static_shape(tensor) or ())
        made = result if last else variable(graph, f"{name}.{index}", result.dtype, shape)
        append(graph, op, name if last else f"{name}.{index}", [total, tensor], made)
        total = made
    if mean:
        share = constant(graph, f"{name}.share", np.array(1 / len(inputs), result.dtype))
        append(graph, "Mul", name, [total, share], result)
