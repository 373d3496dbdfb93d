"""Pad with a constant: the integer of that constant around the same integers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.kernels.pad import Pad as PadKernel
from bevel.passes.lowering import Lowering
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site


class Pad(Operator):
    float_ops: ClassVar = frozenset({"Pad"})
    integer_op: ClassVar = "Pad"
    ties: ClassVar = True

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
        given = site.node.inputs
        value = site.result.store(np.rint(np.array(padding_value(site.node) / site.scale)).astype(np.int64))
        return site.standard([x.tensor, given[1], site.constant("value", value), *given[3:4]])

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        rank = len(value.shape)
        widths = [int(width) for width in lowering.constant(node.inputs[1])]
        axes = lowering.constant(node.inputs[3]) if len(node.inputs) > 3 else np.arange(rank)
        before, after = [0] * rank, [0] * rank
        for place, axis in enumerate(axes):
            before[int(axis) % rank], after[int(axis) % rank] = widths[place], widths[place + len(axes)]
        kernel = PadKernel(
            shape=value.stored,
            pads_before=tuple(before[axis] for axis in value.order),
            pads_after=tuple(after[axis] for axis in value.order),
            value=int(lowering.constant(node.inputs[2])),
            dtype="int8",
        )
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def padding_value(node: gs.Node) -> float:
    given = node.inputs[2:3]
    return float(np.ravel(given[0].values)[0]) if given and not given[0].is_empty() else 0.0
