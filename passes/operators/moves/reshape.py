"""Reshape, Flatten, Squeeze, Unsqueeze: the same integers under another shape, so no kernel at all.

The bytes must lie in ONNX order for that. Where only axes of length one come or go, any layout will do.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.lowering import Lowering, Order, Value, onnx_order


class Reshape(Operator):
    float_ops: ClassVar = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
    standard: ClassVar = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
    ties: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return Match(node, tuple(node.inputs[:1])) if node.op in self.float_ops else None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        shape = site.constant("shape", np.array(site.shape, np.int64))
        return [gs.Node("Reshape", site.name, {}, [x.tensor, shape], [site.output])]

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        value, shape = lowering.value(x), tuple(y.shape)
        order = order_with_unit_axes_moved(value, shape)
        if order is not None:
            lowering.alias(y, value, order)
        elif flattens(value, shape):
            lowering.flattened[y.name] = value
        else:
            in_order = lowering.reorder(value, onnx_order(len(value.shape)), x.name)
            lowering.alias(y, in_order, onnx_order(len(shape)))


def flattens(value: Value, shape: tuple[int, ...]) -> bool:
    """Whether each sample becomes one row, samples lying one after the other: a product may read it as it lies."""
    return len(shape) == 2 and shape[0] == value.shape[0] and value.order[0] == 0


def order_with_unit_axes_moved(value: Value, shape: tuple[int, ...]) -> Order | None:
    """The order of the same bytes under `shape`, if it differs from the value's only by axes of length one."""
    old = [axis for axis, size in enumerate(value.shape) if size != 1]
    new = [axis for axis, size in enumerate(shape) if size != 1]
    if [value.shape[axis] for axis in old] != [shape[axis] for axis in new]:
        return None
    moved = dict(zip(old, new, strict=True))
    long = [moved[axis] for axis in value.order if axis in moved]
    return (*(axis for axis, size in enumerate(shape) if size == 1), *long)
