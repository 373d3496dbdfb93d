"""Conv, ConvTranspose and Gemm as one thing: a linear map whose output channels can be scaled and shifted.

(x * W + b) * k + t == x * (W * k) + (b * k + t)        k, t per output channel
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.canonicalize.parameters import is_parameter
from bevel.passes.canonicalize.stored_weights import parameter_values, scaled_integers, stored_obstacle
from bevel.passes.graph.edit import Array, constant, given, producer, read_once, static_shape

LINEAR = {"Conv", "ConvTranspose", "Gemm"}


def find_linear(graph: gs.Graph, tensor: gs.Tensor) -> gs.Node | str:
    """The linear node with constant weights that gives `tensor` to one reader, or why there is none."""
    node = producer(tensor)
    if node is None or node.op not in LINEAR:
        return "no convolution or Gemm feeds it"
    if not read_once(graph, tensor):
        return f"the output of {node.name} is used elsewhere too"
    if not all(is_parameter(tensor) or tensor.is_empty() for tensor in node.inputs[1:]):
        return f"the weights of {node.name} are not constant"
    if not isinstance(node.inputs[1], gs.Constant) and (obstacle := stored_obstacle(node)):
        return f"the weights of {node.name} {obstacle}"
    bias = given(node, 2)
    if node.op == "Gemm" and bias is not None and len(static_shape(bias) or ()) != 1:
        return f"the bias of {node.name} is no vector"
    return node


def channels(node: gs.Node) -> int:
    """Output channels of a linear node."""
    shape = static_shape(node.inputs[1]) or ()
    match node.op:
        case "Conv":
            return int(shape[0])
        case "ConvTranspose":
            return int(shape[1]) * int(node.attrs.get("group", 1))
    return int(shape[0 if node.attrs.get("transB", 0) else 1])


def absorb(graph: gs.Graph, node: gs.Node, scale: Array, shift: Array) -> str | None:
    """Scale and shift the output channels of a linear node through its constants.

    `scale` and `shift` are vectors, one number per output channel; the new weights are computed in float64 and
    rounded once. Weights that are stored as integers keep them, and their scales are multiplied. Returns None when
    done, or why it was left as it is: a weight would overflow its type.
    """
    weight, bias = node.inputs[1], given(node, 2)
    scale, shift = scale.astype(np.float64), shift.astype(np.float64)
    old = parameter_values(bias) if bias is not None else np.zeros(len(scale))
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = (old * scale + shift).astype(weight.dtype)
    scaled = scaled_weights(graph, node, scale)
    if scaled is None or not np.isfinite(shifted).all():
        return f"the weights of {node.name} would leave the range of {weight.dtype}"
    node.inputs = [node.inputs[0], scaled, constant(graph, f"{node.name}.bias", shifted)]
    return None


def scaled_weights(graph: gs.Graph, node: gs.Node, scale: Array) -> gs.Tensor | None:
    """The weights with their output channels scaled, as a new tensor; None where one would leave its type."""
    weight = node.inputs[1]
    if not isinstance(weight, gs.Constant):
        return scaled_integers(graph, node, scale)
    with np.errstate(over="ignore", invalid="ignore"):
        values = scale_channels(node, weight.values.astype(np.float64), scale).astype(weight.values.dtype)
    return constant(graph, f"{node.name}.weight", values) if np.isfinite(values).all() else None


def scale_channels(node: gs.Node, weight: Array, scale: Array) -> Array:
    """The weights with every output channel scaled; layouts are those of the ONNX operators."""
    match node.op:
        case "Conv":
            return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        case "ConvTranspose":  # [inputs, outputs / group, ...]; channel g * outputs / group + j is group g's j-th
            group = node.attrs.get("group", 1)
            grouped = weight.reshape(group, -1, *weight.shape[1:])
            factors = scale.reshape(group, 1, weight.shape[1], *[1] * (weight.ndim - 2))
            return (grouped * factors).reshape(weight.shape)
    return weight * (scale[:, None] if node.attrs.get("transB", 0) else scale)
