"""LSTM, GRU and RNN with the batch along the first axis (layout 1, from opset 14 on), with the steps there.

onnxruntime runs no node of layout 1, so that nothing could be held against such a model as it came. Transposes around
the node make the same of it: x [batch, steps, inputs], states [batch, directions, hidden], Y [batch, steps, directions,
hidden].
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from bevel.calib.arithmetic.float_cell import RECURRENT
from bevel.passes.base import Note
from bevel.passes.exchange.widen_floats import PASS

# By place: how an input comes to steps first, how an output goes back
INPUTS: dict[int, tuple[int, ...]] = {0: (1, 0, 2), 5: (1, 0, 2), 6: (1, 0, 2)}
OUTPUTS: dict[int, tuple[int, ...]] = {0: (2, 0, 1, 3), 1: (1, 0, 2), 2: (1, 0, 2)}


def put_steps_first(model: onnx.ModelProto) -> list[Note]:
    """Edit `model`, and its subgraphs, in place."""
    return list(in_graph(model.graph))


def in_graph(graph: onnx.GraphProto) -> Iterator[Note]:
    nodes = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from in_graph(attribute.g)
        layouts = [one for one in node.attribute if one.name == "layout" and one.i]
        if node.op_type not in RECURRENT or node.domain or not layouts:
            nodes.append(node)
            continue
        label = node.name or next(name for name in node.output if name)
        node.attribute.remove(layouts[0])
        nodes += turned(node, label)
        yield Note(PASS, label, "changed", "its batch came first (layout 1): Transposes bring its steps there")
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def turned(node: onnx.NodeProto, label: str) -> list[onnx.NodeProto]:
    """The node with Transposes before and behind it."""
    before, behind = [], []
    for place, perm in INPUTS.items():
        if place < len(node.input) and node.input[place]:
            moved = f"{label}/{place}/steps_first"
            before.append(onnx.helper.make_node("Transpose", [node.input[place]], [moved], name=moved, perm=perm))
            node.input[place] = moved
    for place, perm in OUTPUTS.items():
        if place < len(node.output) and node.output[place]:
            result = node.output[place]
            node.output[place] = f"{result}/steps_first"
            name = f"{result}/batch_first"
            behind.append(onnx.helper.make_node("Transpose", [node.output[place]], [result], name=name, perm=perm))
    return [*before, node, *behind]
