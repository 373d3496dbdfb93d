"""Gather with constant indices along one axis: some of the integers, copied; ONNX's own on integers is the
definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.gather import Gather as GatherKernel
from bevel.passes.operators.base import Activation, Array, Match, Operator, Reason, Site
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.moves.lookup import lower_lookup
from bevel.passes.operators.widths import dtype_of


class Gather(Operator):
    float_ops: ClassVar = frozenset({"Gather"})
    limits: ClassVar = "constant indices, or rows of a constant table"
    standard: ClassVar = frozenset({"Gather"})
    ties: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "Gather":
            return None
        if not isinstance(node.inputs[1], gs.Constant):
            return Reason("its indices are computed")
        if np.ndim(node.inputs[1].values) != 1:
            return Reason("its indices are no list")
        return Match(node, tuple(node.inputs[:1]))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        return site.standard([x.tensor, site.node.inputs[1]])

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        if isinstance(node.inputs[0], gs.Constant):
            lower_lookup(node, lowering)
            return
        axis = int(node.attrs.get("axis", 0)) % len(node.outputs[0].shape)
        lower_gather(node, {axis: lowering.constant(node.inputs[1])}, lowering)


def gathers(site: Site, x: gs.Tensor, indices: Mapping[int, Array]) -> list[gs.Node]:
    """One Gather after the other: of integers that onnxruntime moves in no other way."""
    nodes: list[gs.Node] = []
    source, shape = x, list(x.shape)
    for axis, picked in indices.items():
        shape[axis] = len(picked)
        last = len(nodes) == len(indices) - 1
        target = site.output if last else gs.Variable(f"{site.name}/axis{axis}", x.dtype, list(shape))
        name = site.name if last else f"{site.name}/axis{axis}"
        listed = site.constant(f"indices{axis}", picked.astype(np.int64))
        nodes.append(gs.Node("Gather", name, {"axis": axis}, [source, listed], [target]))
        source = target
    return nodes


def lower_gather(node: gs.Node, indices: Mapping[int, Sequence[int] | Array], lowering: Lowering) -> None:
    """The kernel call that picks `indices` along each axis that has some, in whatever layout the value has."""
    value = lowering.value(node.inputs[0])
    sizes = value.shape
    listed = {axis: (np.asarray(picked) % sizes[axis]).astype(np.int32) for axis, picked in indices.items()}
    counts = tuple(len(listed[axis]) if axis in listed else None for axis in value.order)
    kernel = GatherKernel(shape=value.stored, counts=counts, dtype=dtype_of(node.inputs[0]))
    constants = [listed[axis] for axis in value.order if axis in listed]
    lowering.emit(node, kernel, [value.buffer], constants, node.outputs[0], value.order)
