"""Multiply with the reciprocal of a divisor that is a constant, or a function of one tensor.

    a / f(x) == a * (1 / f(x))

f and its reciprocal become one table of x, and the product runs in integers on every target. In few bits it is the
better form, too: 1 / f(x) has even steps where the result is large, while steps of f(x) there are steps of large
quotients. Price: one rounding more in float. A quotient that is itself a function of x is left: it is one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, constant, detach, static_shape, variable
from bevel.passes.graph.quantizers import is_dequantize, is_quantize
from bevel.passes.graph.regions import tensor_roots


@dataclass(frozen=True)
class DivideByReciprocal(Pass):
    """Models that came quantized keep their quotients, which have their scales."""

    name: ClassVar[str] = "divide-by-reciprocal"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        if any(is_quantize(node) or is_dequantize(node) for node in graph.nodes):
            return work.result(False)
        graph.toposort()
        roots = tensor_roots(graph.nodes, frozenset())
        found = [node for node in alive(graph) if divides_by_function(node, roots)]
        for node in found:
            multiply(graph, node)
        text = "became a product with the reciprocal of its divisor"
        notes = [self.note(node.name, "changed", text) for node in found]
        return work.result(bool(found), notes)


def divides_by_function(node: gs.Node, roots: dict[str, gs.Tensor]) -> bool:
    if node.op != "Div" or node.outputs[0].name in roots or node.outputs[0].dtype != np.float32:
        return False
    dividend, divisor = node.inputs
    if isinstance(divisor, gs.Constant):
        return bool(np.asarray(divisor.values).all() and np.isfinite(1 / divisor.values).all())
    return isinstance(dividend, gs.Variable) and divisor.name in roots and static_shape(divisor) is not None


def multiply(graph: gs.Graph, node: gs.Node) -> None:
    (dividend, divisor), result, name = node.inputs, node.outputs[0], node.name
    detach(node)
    if isinstance(divisor, gs.Constant):
        reciprocal: gs.Tensor = constant(graph, f"{name}.reciprocal", 1 / divisor.values)
    else:
        reciprocal = variable(graph, f"{name}.reciprocal", divisor.dtype, divisor.shape)
        append(graph, "Reciprocal", f"{name}.reciprocal", [divisor], reciprocal)
    append(graph, "Mul", name, [dividend, reciprocal], result)
