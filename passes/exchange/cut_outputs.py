"""Cut a model at named tensors: they become its outputs, and what only served the old ones is dropped.

A detector's tail (decoding of boxes, non-maximum suppression, TopK) often has no integer form and runs as well in the
application. The part before the cut computes what it did: no value changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import onnx
import onnxruntime as ort

from bevel.calib.errors import UserError

OPTION = "--outputs-at"
CLOSE_NAMES = 4  # how many a refusal lists
FATAL_ONLY = 4  # errors are raised, too


def cut_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Make `names` the outputs of `model`, in this order: tensors that nodes compute, or nodes, for all they compute.

    Nodes, weights and inputs that none of them needs go. Raises UserError for a name that is neither, with those that
    come near.
    """
    graph = model.graph
    tensors = dict.fromkeys(tensor for name in names for tensor in named_tensors(graph, name))
    nodes = needed_nodes(graph, set(tensors))
    read = {name for node in nodes for name in names_read(node)}
    known = {value.name: value for value in (*graph.value_info, *graph.output)}
    _keep(graph.output, [known.get(tensor, onnx.ValueInfoProto(name=tensor)) for tensor in tensors])
    _keep(graph.node, nodes)
    _keep(graph.input, [value for value in graph.input if value.name in read])
    _keep(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in read])
    _keep(graph.sparse_initializer, [tensor for tensor in graph.sparse_initializer if tensor.values.name in read])


def named_tensors(graph: onnx.GraphProto, name: str) -> list[str]:
    """The tensor called `name`, or what the nodes called `name` compute."""
    computed = dict.fromkeys(tensor for node in graph.node for tensor in node.output if tensor)
    if name in computed:
        return [name]
    if found := [tensor for node in graph.node if node.name == name for tensor in node.output if tensor]:
        return found
    if any(name == one.name for one in (*graph.input, *graph.initializer)):
        raise UserError(f"{OPTION} {name}: that is an input or a weight; name a tensor that a node computes")
    near = close_names(name, [*computed, *(node.name for node in graph.node if node.name not in computed)])
    raise UserError(f"{OPTION} {name}: no tensor or node is called so; near it are: {', '.join(near)}")


def close_names(name: str, candidates: Sequence[str]) -> list[str]:
    """Those that hold `name` whatever the case of its letters, then those spelled most alike."""
    holding = [one for one in candidates if name and name.lower() in one.lower()]
    alike = get_close_matches(name, [one for one in candidates if one], CLOSE_NAMES, cutoff=0.0)
    return list(dict.fromkeys([*holding, *alike]))[:CLOSE_NAMES]


def needed_nodes(graph: onnx.GraphProto, tensors: set[str]) -> list[onnx.NodeProto]:
    """The nodes that `tensors` depend on, in the order of the graph, in which a node stands behind those it reads."""
    needed, nodes = set(tensors), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(names_read(node))
            nodes.append(node)
    return nodes[::-1]


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """Its inputs, and for an If or a Loop what their bodies name: it may stand outside of them."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for body in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            yield from (value.name for value in body.output)
            for inner in body.node:
                yield from names_read(inner)


def declare_outputs(model: onnx.ModelProto) -> None:
    """Give outputs without a type the one that onnxruntime infers. Raises UserError where that is no tensor."""
    untyped = {value.name: value for value in model.graph.output if not is_typed(value)}
    if not untyped:
        return
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = FATAL_ONLY
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    for found in session.get_outputs():
        if found.name in untyped:
            if not found.type.startswith("tensor("):
                raise UserError(f"output {found.name} is a {found.type}, not a tensor")
            element = found.type.removeprefix("tensor(").removesuffix(")")
            tensor = untyped[found.name].type.tensor_type
            tensor.elem_type = onnx.TensorProto.DataType.Value(element.upper())


def is_typed(value: onnx.ValueInfoProto) -> bool:
    """Whether it says what its elements are; a tensor may leave that open."""
    held = value.type.WhichOneof("value")
    return bool(value.type.tensor_type.elem_type) if held == "tensor_type" else held is not None


def _keep(field: Any, chosen: list[Any]) -> None:
    """Replace the messages of a repeated field by `chosen`, some of which are in it."""
    del field[:]
    field.extend(chosen)
