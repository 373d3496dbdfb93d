"""Sums of integer products that a constant scales become products of reals.

    Cast(MatMulInteger(q, w, z, zw)) * c == DQ(q, s, z) @ DQ(w, c / s, zw)

where q was quantized with the constant scale s. Exact but for c / s, which is rounded once. Where the scale comes from
the input itself (DynamicQuantizeLinear), there is no such constant.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.errors import UserError
from bevel.passes.exchange.qoperator.forms import WAY_OUT
from bevel.passes.graph.edit import (
    Array,
    append,
    constant,
    detach,
    given,
    producer,
    static_shape,
    values,
    variable,
)
from bevel.passes.graph.quantizers import parameters

PRODUCTS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}


def read_product(graph: gs.Graph, node: gs.Node) -> None:
    """Replace the node, the Cast and the Mul behind it. Raises UserError where they are not what is read here."""
    scale = input_scale(node)
    cast = only_reader(node, "Cast")
    product = None if cast is None else only_reader(cast, "Mul")
    factor = None if cast is None or product is None else scale_behind(product, cast)
    if scale is None or product is None or cast is None or factor is None:
        raise UserError(f"node {node.name} ({node.op}): no constant scales its input and its sums; {WAY_OUT}")
    weights, name, result = node.inputs[1], node.name, product.outputs[0]
    axis = 0 if node.op == "ConvInteger" else len(static_shape(weights) or ()) - 1
    ratio = np.asarray((factor.astype(np.float64) / scale).astype(np.float32))
    ratio = ratio.reshape(()) if ratio.size == 1 else ratio.ravel()
    x = dequantized(graph, f"{name}/x", node.inputs[0], np.float32(scale), given(node, 2), 0)
    w = dequantized(graph, f"{name}/w", weights, ratio, given(node, 3), axis)
    operator, attrs = PRODUCTS[node.op], dict(node.attrs)
    for one in (node, cast, product):
        detach(one)
    append(graph, operator, name, [x, w], result, attrs)


def input_scale(node: gs.Node) -> float | None:
    """The one constant scale that the first input was quantized with."""
    maker = producer(node.inputs[0])
    found = parameters(maker) if maker is not None and maker.op == "QuantizeLinear" else None
    return float(found.scale) if found is not None and found.scale.ndim == 0 else None


def only_reader(node: gs.Node, operator: str) -> gs.Node | None:
    readers = node.outputs[0].outputs
    return readers[0] if len(readers) == 1 and readers[0].op == operator else None


def scale_behind(product: gs.Node, cast: gs.Node) -> Array | None:
    """The constant of the Mul, if it is one number, or one for each output channel."""
    other = next(tensor for tensor in product.inputs if tensor is not cast.outputs[0])
    found = values(other)
    shape = static_shape(product.outputs[0])
    if found is None or shape is None or shape != static_shape(cast.outputs[0]):
        return None
    channels = 1 if cast.inputs[0].inputs[0].op == "ConvInteger" else len(shape) - 1
    wide = np.broadcast_to(found, (1,) * (len(shape) - found.ndim) + found.shape)
    along = all(size == 1 for axis, size in enumerate(wide.shape) if axis != channels)
    return wide if along else None


def dequantized(
    graph: gs.Graph, name: str, codes: gs.Tensor, scale: Array | np.float32, zero: gs.Tensor | None, axis: int
) -> gs.Variable:
    factor = np.asarray(scale, np.float32)
    zeros = np.zeros((), codes.dtype) if zero is None else values(zero)
    if zeros is None:
        raise UserError(f"{name} computes its zero point; {WAY_OUT}")
    zeros = np.broadcast_to(zeros.reshape(()) if zeros.size == 1 else zeros.ravel(), factor.shape)
    constants = [constant(graph, f"{name}/scale", factor), constant(graph, f"{name}/zero_point", zeros)]
    real = variable(graph, f"{name}/float", np.float32, static_shape(codes) or ())
    attrs = {"axis": axis} if factor.ndim else {}
    append(graph, "DequantizeLinear", f"{name}/dequantize", [codes, *constants], real, attrs)
    return real
