"""Identity between a graph's input, a constant or an output, and another output: the same values, of any type.

Everywhere else canonicalization removes it. It costs nothing itself; an output in a buffer of its own costs a copy.
"""

from __future__ import annotations

from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Match, Operator, Reason, Site
from bevel.passes.operators.lowering import Lowering


class Identity(Operator):
    float_ops: ClassVar = frozenset({"Identity"})
    standard: ClassVar = frozenset({"Identity"})

    def match(self, node: gs.Node) -> Match | Reason | None:
        return Reason("it hands its input on unchanged") if node.op in self.float_ops else None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        return Reason("it hands its input on unchanged")

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        lowering.alias(node.outputs[0], value, value.order)
