"""Spell reductions as a sum with functions: |x| before ReduceL1, x * x before ReduceSumSquare, a logarithm behind
ReduceLogSum.

    ReduceL1 (x) == ReduceSum (Abs (x))        ReduceLogSum (x) == Log (ReduceSum (x))

Exact but for the order of a sum. ReduceL2 has a kernel, whose root is finer than that of a quantized sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.base import Pass, PassResult
from bevel.passes.canonicalize.edit import alive, append, static_shape, variable


@dataclass(frozen=True)
class SpellReductions(Pass):
    """Requires static shapes."""

    name: ClassVar[str] = "spell-reductions"
    spells: ClassVar[dict[str, str]] = {
        "ReduceL1": "Abs, ReduceSum",
        "ReduceLogSum": "ReduceSum, Log",
        "ReduceSumSquare": "Mul, ReduceSum",
    }

    def call(self, graph: gs.Graph) -> PassResult:
        found = [node for node in alive(graph) if node.op in self.spells and static_shape(node.inputs[0]) is not None]
        for node in found:
            spell(graph, node)
        return PassResult(graph, bool(found))


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
