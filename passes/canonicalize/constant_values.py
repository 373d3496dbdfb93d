"""The value of a tensor that no input's values decide: computed from constants, and from the shapes of tensors.

Shapes count as constants because inputs have static ones. Those of tensors in between are taken from runs on two
different random inputs: where the value differs between them, it depends on data after all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from bevel.calib.errors import UserError, reason_of
from bevel.passes.canonicalize.evaluate import random_inputs, run_tensors
from bevel.passes.canonicalize.fold_constants import RANDOM

Array = NDArray[Any]
SHAPES = frozenset(["Shape", "Size"])
SEEDS = (0, 1)


def constant_value(model: onnx.ModelProto, name: str) -> Array | None:
    """The value of the tensor `name`, None where it depends on inputs. Raises UserError where it cannot be computed."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return np.asarray(numpy_helper.to_array(tensor))
    if depends_on_inputs(model.graph, name):
        return None
    one, other = values(model, name)
    return one if np.array_equal(one, other) else None


def values(model: onnx.ModelProto, name: str) -> tuple[Array, Array]:
    """What the tensor holds on two different random inputs."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    kept = needed(model.graph, name)
    del part.graph.node[:]
    part.graph.node.extend(kept)
    try:
        one, other = (run_tensors(part, [name], random_inputs(part, seed))[name] for seed in SEEDS)
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise UserError(f"{name} cannot be computed: {reason_of(error)}") from error
    return np.asarray(one), np.asarray(other)


def depends_on_inputs(graph: onnx.GraphProto, name: str) -> bool:
    """Whether the values of inputs, or chance, decide `name`."""
    makers = {output: node for node in graph.node for output in node.output}
    known = {tensor.name for tensor in graph.initializer}
    pending, seen = [name], set()
    while pending:
        current = pending.pop()
        if current in known or current in seen or not current:
            continue
        seen.add(current)
        node = makers.get(current)
        if node is None or node.op_type in RANDOM or holds_graph(node):
            return True
        if node.op_type not in SHAPES:
            pending += node.input
    return False


def needed(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    """The nodes that `name` is computed by, in the graph's order."""
    wanted = {name}
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input) | captured(node)
            kept.append(node)
    return kept[::-1]


def captured(node: onnx.NodeProto) -> set[str]:
    """The names that graphs inside the node read."""
    return {name for graph in graphs_of(node) for inner in graph.node for name in (*inner.input, *captured(inner))} | {
        value.name for graph in graphs_of(node) for value in graph.output
    }


def holds_graph(node: onnx.NodeProto) -> bool:
    return bool(graphs_of(node))


def graphs_of(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [
        graph
        for attribute in node.attribute
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
    ]
