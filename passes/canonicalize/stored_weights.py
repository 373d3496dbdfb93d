"""Weights that a quantized model stores as integers, with their output channels scaled: only the scales change.

    ((q - z) * s) * k == (q - z) * (s * k)          k per output channel; for k < 0, (z - q) * (s * -k)

Exact in real arithmetic; in float32 a weight moves by half a unit in the last place.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import Array, append, constant, given, static_shape, variable


def stored_obstacle(node: gs.Node) -> str | None:
    """Why the output channels of a linear node whose weights are a DequantizeLinear cannot be scaled."""
    dequantize = node.inputs[1].inputs[0]
    if dequantize.attrs.get("block_size", 0):
        return "are quantized in blocks"
    if node.op == "ConvTranspose" and node.attrs.get("group", 1) != 1:
        return "share scales between groups"
    if dequantize.inputs[1].values.size > 1 and scale_axis(dequantize) != output_axis(node):
        return "have scales along another axis than the output channels"
    return None


def output_axis(node: gs.Node) -> int:
    """The axis of the output channels in the weights of Conv, ConvTranspose or Gemm."""
    return 1 if node.op == "ConvTranspose" or (node.op == "Gemm" and not node.attrs.get("transB", 0)) else 0


def scale_axis(dequantize: gs.Node) -> int:
    rank = len(static_shape(dequantize.outputs[0]) or ())
    return int(dequantize.attrs.get("axis", 1)) % max(rank, 1)


def parts(dequantize: gs.Node) -> tuple[Array, Array, Array]:
    """Codes, scale and zero point; the latter two of the same shape: [] or [channels]."""
    codes, scale = (np.asarray(tensor.values) for tensor in dequantize.inputs[:2])
    zero_point = given(dequantize, 2)
    zeros = np.zeros(scale.shape, codes.dtype) if zero_point is None else np.asarray(zero_point.values)
    return codes, scale, zeros


def parameter_values(parameter: gs.Tensor) -> Array:
    """The values of a vector that is a constant or a DequantizeLinear of constants, in float64."""
    if isinstance(parameter, gs.Constant):
        return np.asarray(parameter.values, np.float64)
    codes, scale, zero_point = (array.astype(np.float64) for array in parts(parameter.inputs[0]))
    reals: Array = (codes - zero_point) * scale
    return reals


def scaled_integers(graph: gs.Graph, node: gs.Node, factors: Array) -> gs.Tensor | None:
    """The node's stored weights, as a new DequantizeLinear whose output channels are `factors` times as large.

    None where a negated integer, or a scale, would leave its type.
    """
    weight = node.inputs[1]
    dequantize = weight.inputs[0]
    codes, scale, zero_point = parts(dequantize)
    axis = output_axis(node)
    along = [-1 if place == axis else 1 for place in range(codes.ndim)]
    scales, zeros = (np.broadcast_to(array.reshape(-1), factors.shape) for array in (scale, zero_point))
    wide, zero = codes.astype(np.float64), zeros.astype(np.float64).reshape(along)
    signed = zero + np.sign(factors).reshape(along) * (wide - zero)
    with np.errstate(over="ignore"):
        multiplied = np.where(factors == 0, scales, scales * np.abs(factors)).astype(scale.dtype)
        stored = signed.astype(codes.dtype)
    if not np.array_equal(stored.astype(np.float64), signed) or not np.isfinite(multiplied).all():
        return None
    # Codes that stay the same stay the same constant, which may know how it is packed.
    kept = dequantize.inputs[0] if (factors > 0).all() else constant(graph, f"{node.name}.weight.codes", stored)
    inputs = [kept, constant(graph, f"{node.name}.scale", multiplied)]
    if given(dequantize, 2) is not None:
        inputs.append(constant(graph, f"{node.name}.zero_point", zeros))
    result = variable(graph, f"{node.name}.weight", weight.dtype, static_shape(weight) or ())
    append(graph, "DequantizeLinear", result.name, inputs, result, {"axis": axis})
    return result
