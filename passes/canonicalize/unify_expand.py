"""Let a Reshape add the axes that an Expand adds in front; the Expand then repeats along axes that are there. Exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, constant, static_shape, values, variable


@dataclass(frozen=True)
class UnifyExpand(Pass):
    name: ClassVar[str] = "unify-expand"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        modified = False
        for node in alive(graph):
            before, after = static_shape(node.inputs[0]) if node.inputs else None, static_shape(node.outputs[0])
            if node.op != "Expand" or values(node.inputs[1]) is None or before is None or after is None:
                continue
            if len(before) != len(after):
                add_axes(graph, node, (1,) * (len(after) - len(before)) + before)
                modified = True
        return work.result(modified)


def add_axes(graph: gs.Graph, node: gs.Node, shape: tuple[int, ...]) -> None:
    x = node.inputs[0]
    longer = variable(graph, f"{node.name}.axes", x.dtype, shape)
    target = constant(graph, f"{node.name}.shape", np.array(shape, np.int64))
    append(graph, "Reshape", f"{node.name}.reshape", [x, target], longer)
    node.inputs[0] = longer
