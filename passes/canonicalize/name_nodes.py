"""Give every node and every tensor a name that is there, unique and readable.

Notes, reports and per-node tables speak of nodes by name. A nameless node is named for the first output that it has; a
repeated name gets a number. Graph inputs and outputs keep their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import UNIQUE_NAMES


@dataclass(frozen=True)
class NameNodes(Pass):
    name: ClassVar[str] = "name-nodes"
    ensures: ClassVar[tuple[Condition, ...]] = (UNIQUE_NAMES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        tensors = name_tensors(graph)
        nodes = name_nodes(graph)
        return work.result(tensors or nodes)


def name_tensors(graph: gs.Graph) -> bool:
    """Rename tensors that share a name without being one; whether any did."""
    owners = {tensor.name: tensor for tensor in (*graph.inputs, *graph.outputs)}
    taken = set(owners)
    modified = False
    for node in graph.nodes:
        for tensor in (*node.inputs, *node.outputs):
            if tensor.is_empty() or owners.setdefault(tensor.name, tensor) is tensor:
                taken.add(tensor.name)
                continue
            tensor.name = numbered(tensor.name, taken)
            owners[tensor.name] = tensor
            taken.add(tensor.name)
            modified = True
    return modified


def name_nodes(graph: gs.Graph) -> bool:
    taken: set[str] = set()
    modified = False
    for node in graph.nodes:
        wanted = node.name or next((tensor.name for tensor in node.outputs if not tensor.is_empty()), node.op)
        name = numbered(wanted, taken) if wanted in taken else wanted
        modified |= name != node.name
        node.name = name
        taken.add(name)
    return modified


def numbered(name: str, taken: set[str]) -> str:
    return next(new for i in range(1, len(taken) + 2) if (new := f"{name}_{i}") not in taken)
