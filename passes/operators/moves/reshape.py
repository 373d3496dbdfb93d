"""Reshape, Flatten, Squeeze, Unsqueeze: the same integers under another shape, so no kernel at all.

The bytes of axes that are cut or joined must lie in ONNX order for that; others may lie in any: pixels whose channels
come last become tokens whose channels come last.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.lowering import Lowering, Order, Value, onnx_order
from bevel.passes.operators.views import moved_by


class Group(NamedTuple):
    """Axes of a shape, and those that a reshape makes of them."""

    old: tuple[int, ...]
    new: tuple[int, ...]


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
        moved = moved_by(node, lowering.views[x.name]) if x.name in lowering.views else None
        if moved is not None:
            lowering.views[y.name] = moved
            return
        value, shape = lowering.value(x), tuple(y.shape)
        order = order_of_groups(value, shape)
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


def order_of_groups(value: Value, shape: tuple[int, ...]) -> Order | None:
    """The order of the same bytes under `shape`, where every axis that is cut, and all axes that become one, lie in
    memory as ONNX has them, whatever lies before and behind them; None elsewhere."""
    grouped = groups(value.shape, shape)
    group_of = {axis: group for group in grouped for axis in group.old}
    stored = [axis for axis in value.order if axis in group_of]
    long: list[int] = []
    while stored:
        group = group_of[stored[0]]
        if tuple(stored[: len(group.old)]) != group.old:
            return None
        long += group.new
        stored = stored[len(group.old) :]
    return (*(axis for axis, size in enumerate(shape) if size == 1), *long)


def groups(before: tuple[int, ...], behind: tuple[int, ...]) -> list[Group]:
    """The axes longer than one of two shapes of as many elements, in the smallest groups that hold the same ones."""
    (old, new) = ([axis for axis, size in enumerate(shape) if size != 1] for shape in (before, behind))
    found: list[Group] = []
    while old:
        first, second = 1, 1
        while prod(before[axis] for axis in old[:first]) != prod(behind[axis] for axis in new[:second]):
            if prod(before[axis] for axis in old[:first]) < prod(behind[axis] for axis in new[:second]):
                first += 1
            else:
                second += 1
        found.append(Group(tuple(old[:first]), tuple(new[:second])))
        old, new = old[first:], new[second:]
    return found
