"""Tile and Expand: the same integers several times; ONNX's own on integers are the definition."""

from __future__ import annotations

from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.broadcast import Broadcast
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.views import is_read_in_place
from bevel.passes.operators.widths import dtype_of


class Tile(Operator):
    float_ops: ClassVar = frozenset({"Tile", "Expand"})
    limits: ClassVar = "constant repeats"
    standard: ClassVar = frozenset({"Tile", "Expand"})
    ties: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op not in self.float_ops:
            return None
        if not isinstance(node.inputs[1], gs.Constant):
            return Reason("how often it repeats is computed")
        if len(node.inputs[0].shape) != len(node.outputs[0].shape):
            return Reason("it adds axes")
        return Match(node, tuple(node.inputs[:1]))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        return site.standard([x.tensor, site.node.inputs[1]])

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        """An axis of n that becomes r * n is read as [1, n] and written as [r, n], unless only products read it, which
        find repeated elements where they lie."""
        view = lowering.view(node.inputs[0]).repeated(tuple(node.outputs[0].shape))
        if is_read_in_place(node, view):
            lowering.views[node.outputs[0].name] = view
            return
        value, result = lowering.value(node.inputs[0]), tuple(node.outputs[0].shape)
        source: list[int] = []
        target: list[int] = []
        for axis in value.order:
            source += [1, value.shape[axis]]
            target += [result[axis] // value.shape[axis], value.shape[axis]]
        kernel = Broadcast(shape=tuple(target), x_shape=tuple(source), dtype=dtype_of(node.inputs[0]))
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)
