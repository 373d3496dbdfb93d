"""Merge a Transpose into the Transpose or the reduction behind it.

    transpose(transpose(x, p), q) == transpose(x, p[q])
    mean(transpose(x, p), axes) == mean(x, p[axes])      where the axes that stay keep their order

Exact but for the order of a sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import constant, given, integers, producer, static_shape

REDUCTIONS = {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"}


@dataclass(frozen=True)
class MergeTransposes(Pass):
    name: ClassVar[str] = "merge-transposes"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        modified = False
        for node in graph.toposort().nodes:
            first = producer(node.inputs[0]) if node.inputs and node.outputs else None
            if first is None or first.op != "Transpose":
                continue
            if node.op == "Transpose":
                node.attrs = {"perm": compose(permutation(first), permutation(node))}
            elif (axes := reduced_axes(node, permutation(first))) is not None:
                node.inputs = [node.inputs[0], constant(graph, f"{node.name}.axes", np.array(axes, np.int64))]
            else:
                continue
            node.inputs[0] = first.inputs[0]
            modified = True
        return work.result(modified)


def permutation(transpose: gs.Node) -> list[int]:
    """The perm of a Transpose; ONNX reverses the axes where it is left out."""
    rank = len(static_shape(transpose.inputs[0]) or static_shape(transpose.outputs[0]) or ())
    return list(transpose.attrs.get("perm", reversed(range(rank))))


def compose(first: list[int], second: list[int]) -> list[int]:
    """The perm of transpose(transpose(x, first), second)."""
    return [first[axis] for axis in second]


def inverse(perm: list[int]) -> list[int]:
    return [perm.index(axis) for axis in range(len(perm))]


def reduced_axes(node: gs.Node, perm: list[int]) -> list[int] | None:
    """The axes of a reduction before the Transpose that feeds it, or None where the Transpose would still be needed."""
    found = integers(given(node, 1))
    if node.op not in REDUCTIONS or not found or node.attrs.get("keepdims", 1):
        return None
    reduced = [perm[axis % len(perm)] for axis in found]
    kept = [axis for axis in perm if axis not in reduced]
    return sorted(reduced) if kept == sorted(kept) else None
