"""Evaluate once, here, what depends on constants only.

Shapes are static, so Shape, Size and EyeLike are constants too, and the arithmetic that exporters build on them
disappears. A node is evaluated by onnxruntime itself, so the folded values are the bits the model would have computed.

A DequantizeLinear of constants stays: it is how a quantized model stores its weights. Random operators stay.
A node that would blow its inputs up (an Expand, a Tile) beyond `max_bytes` stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.errors import UserError, reason_of
from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.evaluate import open_session
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import Array, alive, append, constant, detach, is_output, redirect, static_shape

RANDOM = frozenset(
    ["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"]
)
NEVER = RANDOM | {"DequantizeLinear"}


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Ensures: no node reads constants only, but for those named in the module's docstring."""

    name: ClassVar[str] = "fold-constants"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)
    max_bytes: int = 4 << 20

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        shapes = fold_shapes(graph)
        foldable, large = find(graph, self.max_bytes)
        if foldable:
            evaluate(graph, foldable)
        notes = [
            self.note(node.name, "stays", f"stays, though it reads constants only: {reason}") for node, reason in large
        ]
        return work.result(bool(shapes or foldable), notes)


def fold_shapes(graph: gs.Graph) -> int:
    """Turn Shape, Size and EyeLike of statically shaped tensors into constants; how many."""
    folded = 0
    for node in alive(graph):
        if node.op not in ("Shape", "Size", "EyeLike"):
            continue
        shape = static_shape(node.inputs[0])
        if shape is None:
            continue
        if node.op == "EyeLike":
            ones = np.eye(shape[0], shape[1], node.attrs.get("k", 0))
            become_constant(graph, node.outputs[0], ones.astype(node.outputs[0].dtype))
            folded += 1
            continue
        sizes = np.array(shape[node.attrs.get("start", 0) : node.attrs.get("end")], np.int64)
        become_constant(graph, node.outputs[0], sizes if node.op == "Shape" else np.array(prod(shape), np.int64))
        folded += 1
    return folded


def find(
    graph: gs.Graph, max_bytes: int, never: frozenset[str] = NEVER
) -> tuple[list[gs.Node], list[tuple[gs.Node, str]]]:
    """The nodes to evaluate, in topological order, and why others that read constants only stay. `never`: operators
    that are not evaluated."""
    folded: set[int] = set()
    found, large = [], []
    for node in graph.toposort().nodes:
        known = all(isinstance(t, gs.Constant) or t.is_empty() or id(t) in folded for t in node.inputs)
        if not known or node.op in never or not node.outputs or hands_on(graph, node):
            continue
        if reason := obstacle(node, max_bytes):
            large.append((node, reason))
            continue
        found.append(node)
        folded |= {id(tensor) for tensor in node.outputs}
    return found, large


def obstacle(node: gs.Node, max_bytes: int) -> str | None:
    if any(isinstance(value, gs.Graph) for value in node.attrs.values()):
        return "it contains a graph"
    before = sum(size_in_bytes(tensor) for tensor in node.inputs)
    after = sum(size_in_bytes(tensor) for tensor in node.outputs)
    if after > max(max_bytes, before):
        return f"it would store {after} bytes in place of {before}"
    return None


def size_in_bytes(tensor: gs.Tensor) -> int:
    shape = static_shape(tensor) if not tensor.is_empty() else None
    return prod(shape) * int(np.dtype(tensor.dtype).itemsize) if shape is not None else 0


def hands_on(graph: gs.Graph, node: gs.Node) -> bool:
    """Whether the node is there to give a constant to a graph output (`SeparateOutputs`)."""
    return node.op == "Identity" and is_output(graph, node.outputs[0])


def evaluate(graph: gs.Graph, nodes: list[gs.Node]) -> None:
    """Replace the outputs of `nodes` that others read by their values."""
    inside = {id(node) for node in nodes}
    wanted = [
        tensor
        for node in nodes
        for tensor in node.outputs
        if is_output(graph, tensor) or any(id(reader) not in inside for reader in tensor.outputs)
    ]
    if wanted:
        for tensor, values in zip(wanted, computed(graph, nodes, wanted), strict=True):
            become_constant(graph, tensor, values)
    for node in nodes:
        detach(node)


def computed(graph: gs.Graph, nodes: list[gs.Node], wanted: list[gs.Tensor]) -> list[Array]:
    """Raises UserError where onnxruntime cannot compute them."""
    part = gs.Graph(nodes, [], wanted, graph.name, opset=graph.opset, import_domains=graph.import_domains)
    part.ir_version = graph.ir_version
    try:
        results: list[Array] = open_session(gs.export_onnx(part, do_type_check=False)).run([t.name for t in wanted], {})
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise UserError(
            f"node {nodes[0].name} ({nodes[0].op}) reads constants only, but cannot be computed: {reason_of(error)}"
        ) from error
    return results


def become_constant(graph: gs.Graph, tensor: gs.Variable, values: Array) -> None:
    """Graph outputs keep their name and get a node that hands the constant on."""
    for node in list(tensor.inputs):
        detach(node)
    if not is_output(graph, tensor):
        tensor.to_constant(values)
        return
    held = constant(graph, f"{tensor.name}.value", np.asarray(values))
    redirect(tensor, held)
    tensor.dtype, tensor.shape = held.dtype, held.shape
    append(graph, "Identity", f"{tensor.name}.identity", [held], tensor)
