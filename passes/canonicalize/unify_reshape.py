"""Spell every change of shape that moves no data as Reshape with one constant shape.

Flatten, Squeeze, Unsqueeze and Reshape with -1 or 0 all become Reshape(x, static shape). A Reshape of a Reshape needs
the last one only. With `transposes`, a Transpose that moves only dimensions of size 1 becomes a Reshape too; before
Transposes have met each other that would hide one from the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, constant, integers, producer, static_shape

SPELLINGS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}


@dataclass(frozen=True)
class UnifyReshape(Pass):
    name: ClassVar[str] = "unify-reshape"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)
    transposes: bool = False

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        modified = False
        for node in alive(graph):
            if is_reshape(node, self.transposes) and not is_unified(node):
                spell(graph, node)
                modified = True
        for node in alive(graph):
            if (first := find_pair(node)) is not None:
                node.inputs[0] = first.inputs[0]
                modified = True
        return work.result(modified)


def is_reshape(node: gs.Node, transposes: bool) -> bool:
    shapes = static_shape(node.inputs[0]) if node.inputs else None, static_shape(node.outputs[0])
    if None in shapes:
        return False
    return node.op in SPELLINGS or (transposes and node.op == "Transpose" and moves_only_ones(node))


def moves_only_ones(transpose: gs.Node) -> bool:
    """Whether the dimensions larger than 1 keep their order, and some dimension moves."""
    shape = static_shape(transpose.inputs[0]) or ()
    perm = list(transpose.attrs.get("perm", reversed(range(len(shape)))))
    kept = [axis for axis in perm if shape[axis] != 1]
    return kept == sorted(kept) and perm != sorted(perm)


def is_unified(node: gs.Node) -> bool:
    shape = static_shape(node.outputs[0])
    return node.op == "Reshape" and set(node.attrs) <= {"allowzero"} and integers(node.inputs[1]) == shape


def spell(graph: gs.Graph, node: gs.Node) -> None:
    shape = np.array(static_shape(node.outputs[0]), np.int64)
    node.op = "Reshape"
    node.attrs = {"allowzero": 1} if 0 in shape else {}
    node.inputs = [node.inputs[0], constant(graph, f"{node.name}.shape", shape)]


def find_pair(node: gs.Node) -> gs.Node | None:
    """The Reshape that feeds this Reshape, or None."""
    first = producer(node.inputs[0]) if node.op == "Reshape" else None
    return first if first is not None and first.op == "Reshape" else None
