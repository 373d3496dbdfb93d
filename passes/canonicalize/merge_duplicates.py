"""Compute the same thing once: nodes with equal operator, inputs and attributes become one.

Exact. Random operators stay apart, and so do QuantizeLinear and DequantizeLinear: tools that read quantized models
look for one pair on each edge.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.fold_constants import RANDOM
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import detach, is_output, redirect, values

APART = RANDOM | {"QuantizeLinear", "DequantizeLinear"}
SMALL = 64  # constants of up to so many elements are compared by value, larger ones by identity


@dataclass(frozen=True)
class MergeDuplicates(Pass):
    name: ClassVar[str] = "merge-duplicates"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        seen: dict[Hashable, gs.Node] = {}
        notes = []
        for node in graph.toposort().nodes:
            if node.op in APART or not node.outputs or any(is_output(graph, tensor) for tensor in node.outputs):
                continue
            first = seen.setdefault(signature(node), node)
            if first is node:
                continue
            for old, new in zip(node.outputs, first.outputs, strict=True):
                redirect(old, new)
            notes.append(self.note(first.name, "changed", f"computes {node.name} too, which was the same"))
            detach(node)
        return work.result(bool(notes), notes)


def signature(node: gs.Node) -> Hashable:
    """Equal for two nodes that compute the same values."""
    attrs = tuple(sorted((key, repr(value)) for key, value in node.attrs.items()))
    return node.op, node.domain, len(node.outputs), attrs, tuple(identity(tensor) for tensor in node.inputs)


def identity(tensor: gs.Tensor) -> Hashable:
    array = values(tensor)
    if tensor.is_empty() or array is None or array.size > SMALL:
        return None if tensor.is_empty() else id(tensor)
    return str(array.dtype), array.shape, array.tobytes()
