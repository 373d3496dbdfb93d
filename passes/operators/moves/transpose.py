"""Transpose: the axes of a value are renamed; bytes move only where a reader needs another order."""

from __future__ import annotations

from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Activation, Operator, Reason, Site
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.views import moved_by


class Transpose(Operator):
    float_ops: ClassVar = frozenset({"Transpose"})
    standard: ClassVar = frozenset({"Transpose"})
    ties: ClassVar = True
    wide: ClassVar = True

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        return site.standard([x.tensor]) if isinstance(x, Activation) else Reason("its input is not quantized")

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x = node.inputs[0]
        moved = moved_by(node, lowering.views[x.name]) if x.name in lowering.views else None
        if moved is not None:
            lowering.views[node.outputs[0].name] = moved
            return
        value = lowering.value(x)
        rank = len(value.shape)
        permutation = [int(axis) for axis in node.attrs.get("perm", range(rank)[::-1])]
        # Axis a of the input is axis permutation.index(a) of the output.
        lowering.alias(node.outputs[0], value, tuple(permutation.index(axis) for axis in value.order))
