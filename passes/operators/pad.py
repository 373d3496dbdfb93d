"""Pad with a constant: the integer of that constant around the same integers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.lowering import Lowering
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.wide_pad import WidePad, lower_pad, padding_value


class Pad(Operator):
    float_ops: ClassVar = frozenset({"Pad"})
    integer_op: ClassVar = "Pad"
    ties: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "Pad":
            return None
        if node.attrs.get("mode", "constant") != "constant":
            return Reason(f"Pad in mode {node.attrs['mode']} has no integer kernel")
        if not all(isinstance(tensor, gs.Constant) or tensor.is_empty() for tensor in node.inputs[1:]):
            return Reason("its widths or its value are computed")
        if any(int(width) < 0 for width in np.ravel(node.inputs[1].values)):
            return Reason("a negative pad, a crop, has no integer kernel")
        return Match(node, tuple(node.inputs[:1]))

    def moves(self, match: Match) -> bool:
        return padding_value(match.node) == 0.0

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        if not site.keeps_quantization():
            return Reason("its input and output are quantized differently")
        if site.wide:
            return WidePad().integerize(site)
        given = site.node.inputs
        value = site.result.store(np.rint(np.array(padding_value(site.node) / site.scale)).astype(np.int64))
        return site.standard([x.tensor, given[1], site.constant("value", value), *given[3:4]])

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        lower_pad(node, lowering)
