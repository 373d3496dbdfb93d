"""Initial states for every LSTM, GRU and RNN: where a node has none, constants of zeros of its own.

Exact: ONNX says that states left out are zeros. A constant that several inputs read becomes one for each. In a
quantized model these inputs say how the states are scaled (`bevel.passes.operators.recurrent`), which differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.arithmetic.float_cell import RECURRENT, STATES
from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.unify_recurrent import INITIAL, direction_of
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, constant, given, static_shape


@dataclass(frozen=True)
class BeginRecurrent(Pass):
    """Nodes of one direction; others stay as they are."""

    name: ClassVar[str] = "begin-recurrent"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        modified = False
        for node in alive(work.graph):
            if node.op in RECURRENT and not node.domain and direction_of(node) != "bidirectional":
                modified |= begin(work.graph, node)
        return work.result(modified)


def begin(graph: gs.Graph, node: gs.Node) -> bool:
    """Whether a state was given, or a constant taken apart."""
    x, r = (static_shape(node.inputs[place]) or () for place in (0, 2))
    modified = False
    for place in range(INITIAL, INITIAL + STATES[node.op]):
        tensor = given(node, place)
        if isinstance(tensor, gs.Variable) or (tensor is not None and len(tensor.outputs) == 1):
            continue
        values = np.zeros((1, x[1], r[-1]), np.float32) if tensor is None else np.array(tensor.values)
        while len(node.inputs) <= place:
            node.inputs.append(gs.Variable.empty())
        node.inputs[place] = constant(graph, f"{node.name}.{('h', 'c')[place - INITIAL]}", values)
        modified = True
    return modified
