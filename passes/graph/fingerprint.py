"""What a graph is, as one number: equal for equal graphs, whatever the order in which their nodes are listed."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs


def fingerprint(graph: gs.Graph) -> str:
    """Of ports in order, nodes with their attributes, types and shapes of tensors, and the bytes of constants."""
    tensors = {id(one): one for node in graph.nodes for one in (*node.inputs, *node.outputs)}
    tensors |= {id(one): one for one in (*graph.inputs, *graph.outputs)}
    parts = [
        f"ports {[one.name for one in graph.inputs]} {[one.name for one in graph.outputs]}",
        *sorted(map(described_node, graph.nodes)),
        *sorted({described_tensor(one) for one in tensors.values() if not one.is_empty()}),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def described_node(node: gs.Node) -> str:
    attrs = {key: described_value(value) for key, value in sorted(node.attrs.items())} if node.attrs else {}
    reads, makes = [one.name for one in node.inputs], [one.name for one in node.outputs]
    return f"node {node.name!r} {node.domain or ''}:{node.op} {reads} {makes} {attrs}"


def described_tensor(tensor: gs.Tensor) -> str:
    if isinstance(tensor, gs.Constant):
        return f"constant {tensor.name!r} {described_value(tensor.values)}"
    shape = None if tensor.shape is None else [str(size) for size in tensor.shape]
    return f"tensor {tensor.name!r} {described_type(tensor.dtype)} {shape}"


def described_type(dtype: Any) -> str:
    """ONNX's types that numpy lacks come as their numbers."""
    return str(dtype) if dtype is None or isinstance(dtype, int) else named_type(np.dtype(dtype))


@cache
def named_type(dtype: np.dtype[Any]) -> str:
    """numpy makes the name anew each time, which was a third of a fingerprint."""
    return str(dtype)


PLAIN = frozenset([bool, int, float, str, bytes, type(None)])  # most attributes, and told at once


def described_value(value: Any) -> str:
    kind = type(value)
    if kind in PLAIN:
        return repr(value)
    if kind in (list, tuple) and PLAIN.issuperset(map(type, value)):
        return repr(list(value))
    match value:
        case gs.Graph():
            return fingerprint(value)
        case gs.Tensor():
            return described_tensor(value)
        case np.ndarray():
            data = np.ascontiguousarray(value).tobytes()
            return f"{named_type(value.dtype)} {value.shape} {hashlib.sha256(data).hexdigest()}"
        case list() | tuple():
            return str([described_value(one) for one in value])
        case _:
            return repr(value)
