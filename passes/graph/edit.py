"""Small looks at onnx-graphsurgeon graphs, and small edits, that all passes share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.graph.names import names_of

Array = NDArray[Any]


def is_output(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    """Whether `tensor` is one of the graph's outputs, whose name and order the user relies on."""
    return any(output is tensor for output in graph.outputs)


def is_input(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    return any(given is tensor for given in graph.inputs)


def read_once(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    """Whether exactly one node input reads `tensor` and it is no graph output: its producer may be merged away."""
    return len(tensor.outputs) == 1 and not is_output(graph, tensor)


def producer(tensor: gs.Tensor) -> gs.Node | None:
    """The node that computes `tensor`; None for graph inputs and constants."""
    return tensor.inputs[0] if tensor.inputs else None


def fresh(graph: gs.Graph, name: str) -> str:
    """`name`, or `name_1`, `name_2`, ...: the first that no tensor of the graph bears."""
    return names_of(graph).fresh(name)


def constant(graph: gs.Graph, name: str, values: Array) -> gs.Constant:
    """A new constant under a fresh name; constants are never edited in place, for they may be shared."""
    names = names_of(graph)
    made = gs.Constant(names.fresh(name), np.ascontiguousarray(values).reshape(values.shape))
    names.add(made)
    return made


def variable(graph: gs.Graph, name: str, dtype: Any, shape: Sequence[int]) -> gs.Variable:
    names = names_of(graph)
    made = gs.Variable(names.fresh(name), dtype, tuple(int(size) for size in shape))
    names.add(made)
    return made


def append(
    graph: gs.Graph,
    op: str,
    name: str,
    inputs: Sequence[gs.Tensor],
    output: gs.Tensor,
    attrs: dict[str, Any] | None = None,
) -> gs.Node:
    """A new node at the end of the list; `Pass.__call__` sorts afterwards."""
    node = gs.Node(op, name, attrs or {}, list(inputs), [output])
    graph.nodes.append(node)
    return node


def detach(node: gs.Node) -> None:
    """Cut the node off; `Pass.__call__` sweeps it out of the graph."""
    node.inputs.clear()
    node.outputs.clear()


def alive(graph: gs.Graph) -> list[gs.Node]:
    """The nodes that still compute something, as a list that may be walked while the graph is edited."""
    return [node for node in graph.nodes if node.outputs]


def redirect(old: gs.Tensor, new: gs.Tensor) -> None:
    """Let every reader of `old` read `new`."""
    for node in list(old.outputs):
        for i, tensor in enumerate(node.inputs):
            if tensor is old:
                node.inputs[i] = new


def bypass(graph: gs.Graph, node: gs.Node, source: gs.Tensor) -> str | None:
    """Remove `node`, whose first output equals `source`; graph inputs and outputs keep their names.

    Returns None when done, or the reason why the node has to stay.
    """
    result = node.outputs[0]
    if not is_output(graph, result):
        redirect(result, source)
        detach(node)
        return None
    if is_output(graph, source):
        return "it joins two graph outputs"
    maker = producer(source)
    if maker is None:
        return "it joins a graph input or a constant to a graph output"
    place = next(i for i, tensor in enumerate(maker.outputs) if tensor is source)
    detach(node)
    redirect(source, result)
    maker.outputs[place] = result
    return None


def values(tensor: gs.Tensor) -> Array | None:
    """The values of a constant, else None."""
    return tensor.values if isinstance(tensor, gs.Constant) else None


def scalar(tensor: gs.Tensor) -> float | None:
    """The value of a constant of one element, else None."""
    array = values(tensor)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def given(node: gs.Node, index: int) -> gs.Tensor | None:
    """The node's input at `index`, or None where the optional input is left out."""
    if index >= len(node.inputs) or node.inputs[index].is_empty():
        return None
    return node.inputs[index]


def static_shape(tensor: gs.Tensor) -> tuple[int, ...] | None:
    """The shape when every dimension is a known integer, else None."""
    if tensor.shape is None or not all(isinstance(size, int | np.integer) for size in tensor.shape):
        return None
    return tuple(int(size) for size in tensor.shape)


def integers(tensor: gs.Tensor | None) -> tuple[int, ...] | None:
    """The values of a constant list of integers (axes, pads, a shape), else None."""
    array = values(tensor) if tensor is not None else None
    if array is None or array.dtype.kind not in "iub":
        return None
    return tuple(int(value) for value in array.reshape(-1))
