"""Give every constant graph output a node that makes it: Identity of a constant.

Passes look at what computes an output, and a constant has no such node. Exact. An output that is a graph input by the
same name stays that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import MADE_OUTPUTS
from bevel.passes.graph.edit import append


@dataclass(frozen=True)
class SeparateOutputs(Pass):
    name: ClassVar[str] = "separate-outputs"
    ensures: ClassVar[tuple[Condition, ...]] = (MADE_OUTPUTS,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        modified = False
        for place, tensor in enumerate(graph.outputs):
            if isinstance(tensor, gs.Constant):
                graph.outputs[place] = handed_on(graph, tensor)
                modified = True
        return work.result(modified)


def handed_on(graph: gs.Graph, tensor: gs.Constant) -> gs.Variable:
    """A new output under the constant's name, which the constant gives up."""
    name = tensor.name
    output = gs.Variable(name, tensor.dtype, tensor.shape)
    tensor.name = f"{name}.value"
    append(graph, "Identity", f"{name}.identity", [tensor], output)
    return output
