"""Leave out optional outputs that nobody reads, from the last on: a Dropout's mask, a LayerNormalization's mean.

Exact: what ONNX calls an optional output does not change the others. Tools behind us may not know them at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_graphsurgeon as gs
from onnx import defs

from bevel.passes.base import Pass, PassResult, Work
from bevel.passes.graph.edit import alive, is_output

OPTIONAL = defs.OpSchema.FormalParameterOption.Optional


@dataclass(frozen=True)
class TrimOutputs(Pass):
    name: ClassVar[str] = "trim-outputs"

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        modified = False
        for node in alive(graph):
            first = first_optional(node, graph.opset)
            while len(node.outputs) > first and is_unread(graph, node.outputs[-1]):
                del node.outputs[-1]
                modified = True
        return work.result(modified)


def first_optional(node: gs.Node, opset: int) -> int:
    """How many outputs have to stay, at least one."""
    if len(node.outputs) < 2 or node.domain not in (None, "", "ai.onnx") or node.attrs.get("training_mode", 0):
        return len(node.outputs)  # BatchNormalization in training mode has all of them, or onnx refuses it
    try:
        outputs = defs.get_schema(node.op, opset, "").outputs
    except defs.SchemaError:
        return len(node.outputs)
    if len(outputs) < len(node.outputs):  # any number of them: a Split
        return len(node.outputs)
    needed = [place for place, output in enumerate(outputs) if output.option != OPTIONAL]
    return max(needed, default=0) + 1


def is_unread(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    return tensor.is_empty() or not (tensor.outputs or is_output(graph, tensor))
