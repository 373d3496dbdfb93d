"""Operators that work in any layout, and what becomes of their axes when the layout changes.

A node "in layout p" reads and writes tensors that are transpose(t, p); moved to the plain layout, its axis a is p[a].
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.canonicalize.merge_transposes import REDUCTIONS, inverse
from bevel.passes.graph.edit import Array, constant, given, integers, static_shape, values

UNARY = {"Abs", "Cast", "Ceil", "Celu", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish"}
UNARY |= {"Identity", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid"}
UNARY |= {"Shrink", "Sign", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu"}
BROADCAST = {"Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min"}
BROADCAST |= {"Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"}
QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
WITH_AXIS = {"Concat", "Softmax", "LogSoftmax", "Split"}
WITH_AXES = {"Pad": 3, "Slice": 3} | dict.fromkeys(REDUCTIONS, 1)  # the input that lists axes


def is_layout_free(node: gs.Node) -> bool:
    """Whether the node can work in another layout: rank kept, parameters constant."""
    rank = len(static_shape(node.outputs[0]) or ()) if node.outputs else 0
    if rank < 2 or any(len(static_shape(tensor) or ()) != rank for tensor in node.outputs):
        return False
    match node.op:
        case op if op in UNARY or op in WITH_AXIS:
            return all(same_rank(node.inputs[i], rank) for i in data_inputs(node))
        case op if op in BROADCAST:
            return all(same_rank(tensor, rank) or isinstance(tensor, gs.Constant) for tensor in node.inputs)
        case op if op in QUANTIZERS:
            return not node.attrs.get("block_size", 0) and len(static_shape(node.inputs[1]) or ()) <= 1
        case "Pad" | "Slice":
            return all(isinstance(tensor, gs.Constant) or tensor.is_empty() for tensor in node.inputs[1:])
        case op if op in REDUCTIONS:
            return bool(integers(given(node, 1))) and bool(node.attrs.get("keepdims", 1))
    return False


def same_rank(tensor: gs.Tensor, rank: int) -> bool:
    shape = static_shape(tensor)
    return shape is not None and len(shape) == rank


def data_inputs(node: gs.Node) -> list[int]:
    """The inputs that carry the layout; the others are parameters."""
    return list(range(len(node.inputs))) if node.op in BROADCAST or node.op == "Concat" else [0]


def untransposed(array: Array, perm: list[int]) -> Array:
    """A broadcast operand of layout `perm`, in the plain layout."""
    padded = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
    return np.transpose(padded, inverse(perm))


def move(graph: gs.Graph, node: gs.Node, perm: list[int]) -> None:
    """Rewrite the node's axes and constant operands from layout `perm` to the plain one."""
    for i in data_inputs(node):
        array = values(node.inputs[i])
        if array is not None and array.ndim > 0:
            node.inputs[i] = constant(graph, f"{node.inputs[i].name}.plain", untransposed(array, perm))
    if node.op in WITH_AXIS:
        default = 0 if node.op == "Split" else -1
        node.attrs["axis"] = perm[node.attrs.get("axis", default) % len(perm)]
    elif node.op in QUANTIZERS and static_shape(node.inputs[1]):
        node.attrs["axis"] = perm[node.attrs.get("axis", 1) % len(perm)]
    elif node.op in WITH_AXES:
        place = WITH_AXES[node.op]
        axes = integers(given(node, place)) if given(node, place) is not None else all_axes(node, len(perm))
        moved = np.array([perm[axis % len(perm)] for axis in axes or ()], np.int64)
        padding = [gs.Variable.empty()] * (place - len(node.inputs))
        rest = list(node.inputs[place + 1 :])
        node.inputs = [*node.inputs[:place], *padding, constant(graph, f"{node.name}.axes", moved), *rest]


def all_axes(node: gs.Node, rank: int) -> tuple[int, ...]:
    """The axes of a Pad or a Slice that lists none."""
    return tuple(range(rank if node.op == "Pad" else len(integers(node.inputs[1]) or ())))
