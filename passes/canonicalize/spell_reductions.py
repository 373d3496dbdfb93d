"""Spell reductions as a sum with functions: |x| before ReduceL1, x * x before ReduceSumSquare, a logarithm behind
ReduceLogSum; and a sum over its count as the mean that it is.

    ReduceL1 (x) == ReduceSum (Abs (x))        ReduceLogSum (x) == Log (ReduceSum (x))
    ReduceSum (x) / n == ReduceMean (x)        of n elements each

Exact but for the order of a sum. ReduceL2 has a kernel, whose root is finer than that of a quantized sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose, prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import (
    alive,
    append,
    detach,
    producer,
    read_once,
    scalar,
    static_shape,
    variable,
)

ROUNDED = 1e-6  # a reciprocal count in float32 is off by less


@dataclass(frozen=True)
class SpellReductions(Pass):
    name: ClassVar[str] = "spell-reductions"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)
    spells: ClassVar[dict[str, str]] = {
        "ReduceL1": "Abs, ReduceSum",
        "ReduceLogSum": "ReduceSum, Log",
        "ReduceSumSquare": "Mul, ReduceSum",
    }

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        found = [node for node in alive(graph) if node.op in self.spells and static_shape(node.inputs[0]) is not None]
        for node in found:
            spell(graph, node)
        divisions = [node for node in alive(graph) if node.op in ("Div", "Mul") and is_mean(graph, node)]
        for node in divisions:
            average(node)
        return work.result(bool(found or divisions))


def is_mean(graph: gs.Graph, node: gs.Node) -> bool:
    """Whether a node divides a sum that it alone reads by the number of the summands."""
    summed, total = producer(node.inputs[0]), node.inputs[0]
    if summed is None or summed.op != "ReduceSum" or not read_once(graph, total) or total.dtype != np.float32:
        return False
    shapes, factor = (static_shape(summed.inputs[0]), static_shape(total)), scalar(node.inputs[1])
    if None in shapes or not factor or static_shape(node.outputs[0]) != shapes[1]:
        return False
    count = prod(shapes[0] or ()) / max(prod(shapes[1] or ()), 1)
    return count > 1 and isclose(factor if node.op == "Div" else 1 / factor, count, rel_tol=ROUNDED)


def average(node: gs.Node) -> None:
    summed = node.inputs[0].inputs[0]
    result = node.outputs[0]
    detach(node)
    summed.op, summed.outputs = "ReduceMean", [result]


def spell(graph: gs.Graph, node: gs.Node) -> None:
    """The sum keeps the node's name."""
    x, result, op = node.inputs[0], node.outputs[0], node.op
    node.op = "ReduceSum"
    if op == "ReduceLogSum":
        summed = variable(graph, f"{node.name}.sum", result.dtype, static_shape(result) or ())
        node.outputs = [summed]
        append(graph, "Log", f"{node.name}.log", [summed], result)
        return
    made = variable(graph, f"{node.name}.elements", x.dtype, static_shape(x) or ())
    node.inputs[0] = made
    append(graph, "Abs" if op == "ReduceL1" else "Mul", made.name, [x] if op == "ReduceL1" else [x, x], made)
