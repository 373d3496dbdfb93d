"""ScatterND of one row of the first axis, as a cache is written: the same integers but for that row; ONNX's own on
integers is the definition."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.scatter_row import ScatterRow as ScatterRowKernel
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.lowering import Lowering, onnx_order
from bevel.passes.operators.widths import dtype_of


class ScatterRow(Operator):
    float_ops: ClassVar = frozenset({"ScatterND"})
    limits: ClassVar = "one row of the first axis"
    standard: ClassVar = frozenset({"ScatterND"})
    ties: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "ScatterND":
            return None
        x, places, row = node.inputs
        if node.attrs.get("reduction", "none") not in ("none", b"none"):
            return Reason("it adds or multiplies what it writes")
        if list(places.shape) != [1, 1] or isinstance(places, gs.Constant):
            return Reason("it writes other than one row of the first axis, at a place that is computed")
        return Match(node, (x, row), (places,))

    def tied(self, match: Match) -> tuple[gs.Tensor, ...]:
        return match.inputs

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, row = site.inputs
        if not isinstance(x, Activation) or not isinstance(row, Activation):
            return Reason("its input is not quantized")
        return site.standard([x.tensor, site.others[0], row.tensor])

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, places, row = node.inputs
        rows, width = int(x.shape[0]), prod(x.shape[1:])
        kernel = ScatterRowKernel(rows, width, dtype_of(x))
        given = [lowering.read(one, onnx_order(len(one.shape))) for one in (x, places, row)]
        result = node.outputs[0]
        lowering.emit(node, kernel, given, (), result, onnx_order(len(result.shape)))
