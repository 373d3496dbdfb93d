"""How the product of a node reads its input and holds its weights, as `bevel.calib.observe.rows` has it."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from bevel.calib.observe.rows import Along, Patches, Rows, transposed
from bevel.passes.graph.edit import producer
from bevel.passes.quantize.round_weights import ProductWeights


def product_of(weights: ProductWeights) -> gs.Node:
    """The node that multiplies the weights: the one that was matched, or the MatMul before its Add."""
    node = weights.match.node
    before = (producer(tensor) for tensor in node.inputs)
    products = [node, *(one for one in before if one is not None and one.op == "MatMul")]
    return next(one for one in products if any(tensor is weights.tensor for tensor in one.inputs))


def product_rows(product: gs.Node) -> Rows | None:
    """None for a node that is no product by constant weights, or whose window is not spelled out."""
    match product.op:
        case "MatMul":
            return Along()
        case "Gemm":
            return Along(turned=bool(product.attrs.get("transB", 0)))
        case "Conv" | "ConvTranspose":
            return window_rows(product)
    return None


def window_rows(product: gs.Node) -> Patches | None:
    attrs, rank = product.attrs, len(product.inputs[0].shape) - 2
    if "pads" not in attrs or attrs.get("output_shape"):
        return None
    kernel = tuple(map(int, product.inputs[1].shape[2:]))
    strides, dilations = (tuple(map(int, attrs.get(name, [1] * rank))) for name in ("strides", "dilations"))
    pads, groups = tuple(map(int, attrs["pads"])), int(attrs.get("group", 1))
    if product.op == "Conv":
        return Patches(kernel, strides, dilations, pads, groups)
    more = tuple(map(int, attrs.get("output_padding", [0] * rank)))
    return transposed(kernel, strides, dilations, pads, more, groups)
