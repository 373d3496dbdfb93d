"""Concat: its inputs share the quantization of its output, so that the integers are copied side by side; an input that
has a quantization of its own is rescaled first."""

from __future__ import annotations

from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.concat import Concat as ConcatKernel
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site, Weight
from bevel.passes.operators.functions.table import on_scale, quantized
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.widths import dtype_of


class Concat(Operator):
    float_ops: ClassVar = frozenset({"Concat"})
    standard: ClassVar = frozenset({"Concat"})
    ties: ClassVar = True
    rescales: ClassVar = True
    wide: ClassVar = True

    def tied(self, match: Match) -> tuple[gs.Tensor, ...]:
        return match.inputs

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        nodes: list[gs.Node] = []
        parts: list[gs.Tensor] = []
        for index, part in enumerate(site.inputs):
            match part:
                case Activation():
                    found = on_scale(f"{site.name}/{index}", part, site.scale, site.result)
                    if isinstance(found, Reason):
                        return found
                    parts.append(found[0])
                    nodes += found[1]
                case Weight() as constant:
                    parts.append(site.constant(f"part{index}", quantized(constant.reals, site.scale, site.result)))
                case values:
                    parts.append(site.constant(f"part{index}", quantized(values, site.scale, site.result)))
        return [*nodes, *site.standard(parts)]

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        y = node.outputs[0]
        order = next(
            (value.order for value in map(lowering.value, node.inputs) if value.buffer not in lowering.constants),
            lowering.value(node.inputs[0]).order,
        )
        axis = order.index(int(node.attrs["axis"]) % len(order))
        sources = [lowering.read(tensor, order) for tensor in node.inputs]
        shapes = tuple(tuple(tensor.shape[axis] for axis in order) for tensor in node.inputs)
        lowering.emit(node, ConcatKernel(axis=axis, shapes=shapes, dtype=dtype_of(y)), sources, (), y, order)
