"""Spell Conv and ConvTranspose out: explicit pads and window attributes, no auto_pad, always a bias.

Conv-1D keeps its rank 3. Weights may be constants or, in a quantized model, a DequantizeLinear of constants; a bias
that was missing is a float constant of zeros in both. Exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.window import auto_padding, axes, explicit, split
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, constant, given, static_shape


@dataclass(frozen=True)
class UnifyConv(Pass):
    name: ClassVar[str] = "unify-conv"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        notes = []
        modified = False
        for node in alive(graph):
            if node.op not in ("Conv", "ConvTranspose"):
                continue
            attrs = conv_attributes(node) if node.op == "Conv" else transpose_attributes(node)
            if isinstance(attrs, str):
                notes.append(self.note(node.name, "stays", f"its padding stays as it is: {attrs}"))
            elif attrs != node.attrs:
                node.attrs = attrs
                modified = True
            modified |= add_bias(graph, node)
        return work.result(modified, notes)


def conv_attributes(conv: gs.Node) -> dict[str, Any]:
    spatial = axes(conv, (static_shape(conv.inputs[1]) or ())[2:])
    pads = [auto_padding(conv, axis) for axis in spatial]
    return {**explicit(spatial, pads), "group": conv.attrs.get("group", 1)}


def transpose_attributes(node: gs.Node) -> dict[str, Any] | str:
    """The attributes of a ConvTranspose with output_shape and auto_pad solved for pads, or why they are not."""
    spatial = axes(node, (static_shape(node.inputs[1]) or ())[2:])
    extra = list(node.attrs.get("output_padding", [0] * len(spatial)))
    mode = node.attrs.get("auto_pad", "NOTSET")
    wanted = node.attrs.get("output_shape")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [axis.size * axis.stride for axis in spatial]
    if wanted is None:
        pads = [auto_padding(node, axis) for axis in spatial]
    else:
        full = [axis.stride * (axis.size - 1) + more + axis.extent for axis, more in zip(spatial, extra, strict=True)]
        totals = [whole - size for whole, size in zip(full, wanted[-len(spatial) :], strict=True)]
        if min(totals) < 0 and not node.attrs.get("output_shape"):
            return f"auto_pad {mode} asks for {list(wanted)}, more than its windows reach"
        # What the windows do not reach is output padding at the end, as onnxruntime makes it.
        extra = [more + max(-total, 0) for more, total in zip(extra, totals, strict=True)]
        pads = [split(max(total, 0), mode) for total in totals]
    return {**explicit(spatial, pads), "group": node.attrs.get("group", 1), "output_padding": extra}


def add_bias(graph: gs.Graph, node: gs.Node) -> bool:
    """Give the node a bias of zeros where it has none; whether it had none."""
    if given(node, 2) is not None:
        return False
    channels = (static_shape(node.outputs[0]) or ())[1]
    bias = constant(graph, f"{node.name}.bias", np.zeros(channels, node.inputs[0].dtype))
    node.inputs = [*node.inputs[:2], bias]
    return True
