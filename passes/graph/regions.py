"""Float subgraphs that are functions of one tensor, element by element: what one 256-entry table can replace.

Of an image's 8-bit integers the function may have constants for each channel (mean and deviation): a table for each.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime as ort
from numpy.typing import NDArray


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ONE_INPUT = words(
    "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish LeakyRelu "
    "Log Mish Neg Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh "
    "ThresholdedRelu Identity"
)
WITH_CONSTANTS = words("Add Sub Mul Div Pow Max Min Sum Mean Clip PRelu")


MOST_CHANNELS = 16  # each has a table of its own, of 256 bytes
PIXELS = (np.int8, np.uint8)


@dataclass(frozen=True)
class Region:
    """`output` as a function of `root`: nodes in execution order. `axis`: along which constants differ, or None."""

    root: gs.Tensor
    output: gs.Tensor
    nodes: tuple[gs.Node, ...]
    axis: int | None = None


def tensor_roots(nodes: Iterable[gs.Node], barriers: frozenset[str]) -> dict[str, gs.Tensor]:
    """The root of each tensor that is a function of one other: name to root. `nodes` in execution order.

    Nodes named in `barriers` are not looked through.
    """
    roots: dict[str, gs.Tensor] = {}
    axes: dict[str, frozenset[int]] = {}  # along which the constants differ that made a tensor
    for node in nodes:
        if node.name in barriers or not (is_elementwise(node) or is_channelwise(node)):
            continue
        found = [roots.get(tensor.name, tensor) for tensor in node.inputs if isinstance(tensor, gs.Variable)]
        present = {root.name: root for root in found if root.name}
        along = channel_axes(node).union(*(axes.get(tensor.name, frozenset()) for tensor in node.inputs))
        if len(present) == 1 and may_differ(along, root := next(iter(present.values()))):
            roots[node.outputs[0].name], axes[node.outputs[0].name] = root, along
    return roots


def may_differ(axes: frozenset[int], root: gs.Tensor) -> bool:
    """Whether constants may differ along `axes` in a function of `root`."""
    return not axes or (len(axes) == 1 and is_pixels(root))


def is_pixels(tensor: gs.Tensor) -> bool:
    """Whether a float tensor is 8-bit integers, perhaps behind quantizers."""
    node = tensor.inputs[0] if tensor.inputs else None
    while node is not None and node.op in ("QuantizeLinear", "DequantizeLinear"):
        node = node.inputs[0].inputs[0] if node.inputs[0].inputs else None
    return node is not None and casts_pixels(node)


def casts_pixels(node: gs.Node) -> bool:
    """Whether a node makes float32 of 8-bit integers."""
    return node.op == "Cast" and node.inputs[0].dtype in PIXELS and node.outputs[0].dtype == np.float32


def is_channelwise(node: gs.Node) -> bool:
    """As `is_elementwise`, but that constants may differ along one axis, of few channels."""
    if node.op not in WITH_CONSTANTS or len(node.outputs) != 1 or len(channel_axes(node)) != 1:
        return False
    variables = [tensor for tensor in node.inputs if isinstance(tensor, gs.Variable) and not tensor.is_empty()]
    shape = list(node.outputs[0].shape)
    alike = all(tensor.dtype == np.float32 and list(tensor.shape) == shape for tensor in variables)
    return len(variables) == 1 and alike and all(shape[axis] <= MOST_CHANNELS for axis in channel_axes(node))


def channel_axes(node: gs.Node) -> frozenset[int]:
    """The axes of the result, counted from the last one (-1), along which the node's constants differ."""
    found = [np.shape(tensor.values) for tensor in node.inputs if isinstance(tensor, gs.Constant)]
    return frozenset(place - len(shape) for shape in found for place, size in enumerate(shape) if size != 1)


def is_elementwise(node: gs.Node) -> bool:
    """One result an element, with no constant that differs between elements and no broadcasting of computed tensors."""
    if node.op not in ONE_INPUT | WITH_CONSTANTS or len(node.outputs) != 1:
        return False
    if any(isinstance(tensor, gs.Constant) and np.size(tensor.values) != 1 for tensor in node.inputs):
        return False
    variables = [tensor for tensor in node.inputs if isinstance(tensor, gs.Variable) and not tensor.is_empty()]
    return bool(variables) and all(
        tensor.dtype == np.float32 and list(tensor.shape) == list(node.outputs[0].shape) for tensor in variables
    )


def find_region(output: gs.Tensor, roots: Container[str]) -> Region | None:
    """The elementwise nodes that make `output` from one tensor named in `roots`, or None."""
    nodes: list[gs.Node] = []
    reached: dict[str, gs.Tensor] = {}
    pending, seen = [output], set()
    while pending:
        tensor = pending.pop()
        if isinstance(tensor, gs.Constant) or tensor.is_empty() or tensor.name in seen:
            continue
        seen.add(tensor.name)
        if tensor.name in roots:
            reached[tensor.name] = tensor
            continue
        if len(tensor.inputs) != 1 or not (is_elementwise(tensor.inputs[0]) or is_channelwise(tensor.inputs[0])):
            return None
        nodes.append(tensor.inputs[0])
        pending += tensor.inputs[0].inputs
    if len(reached) != 1 or not nodes:
        return None
    (root,) = reached.values()
    axes = frozenset[int]().union(*map(channel_axes, nodes))
    if not may_differ(axes, root):
        return None
    return Region(root, output, tuple(in_order(nodes)), next(iter(axes), None))


def in_order(nodes: list[gs.Node]) -> list[gs.Node]:
    """In execution order: first those that need none of the others, then those that need only these, and so on."""
    makers = {output.name: place for place, node in enumerate(nodes) for output in node.outputs}
    needs = [{makers[tensor.name] for tensor in node.inputs if tensor.name in makers} for node in nodes]
    order = TopologicalSorter(dict(enumerate(needs)))
    order.prepare()
    ordered: list[gs.Node] = []
    while order.is_active():
        ready = sorted(order.get_ready())
        order.done(*ready)
        ordered += (nodes[place] for place in ready)
    return ordered


def evaluate_region(region: Region, x: NDArray[np.float32], opset: int) -> NDArray[np.float32]:
    """The region's function of each element of `x` (one axis), by onnxruntime in float32; with one more axis in front,
    the channels, where it has constants for each."""
    if region.axis is not None:
        x = np.tile(x, (region.output.shape[region.axis], 1))
    shape = list(x.shape)
    tensors: dict[str, gs.Tensor] = {region.root.name: gs.Variable("x", np.float32, shape)}

    def renamed(tensor: gs.Tensor) -> gs.Tensor:
        if isinstance(tensor, gs.Constant):
            values = np.asarray(tensor.values)
            return gs.Constant(tensor.name, values.reshape(() if values.size == 1 else (-1, 1)))
        if tensor.is_empty():
            return gs.Variable.empty()
        return tensors.setdefault(tensor.name, gs.Variable(tensor.name, np.float32, shape))

    nodes = [
        gs.Node(node.op, node.name, dict(node.attrs), [renamed(t) for t in node.inputs], [renamed(node.outputs[0])])
        for node in region.nodes
    ]
    graph = gs.Graph(nodes, [tensors[region.root.name]], [tensors[region.output.name]], opset=opset, ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # errors are raised, too
    session = ort.InferenceSession(
        gs.export_onnx(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    result: NDArray[np.float32] = session.run(None, {"x": x})[0]
    return result
