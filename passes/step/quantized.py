"""The quantizers of a tensor, once more: what only moves the values of a quantized tensor keeps its integers."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import producer
from bevel.passes.graph.quantizers import ROUNDINGS, is_dequantize, is_quantize


def chain_of(tensor: gs.Tensor) -> list[gs.Node]:
    """The quantizer, roundings and dequantizer that make `tensor`, in this order; none of a plain float."""
    found: list[gs.Node] = []
    node = producer(tensor)
    if node is None or not is_dequantize(node):
        return []
    while node is not None and (not found or node.op in ROUNDINGS or is_quantize(node)):
        found.append(node)
        if is_quantize(node):
            return found[::-1]
        node = producer(node.inputs[0])
    return []


def name_of(tensor: gs.Tensor) -> str:
    """What a tensor is called before it is quantized."""
    chain = chain_of(tensor)
    return str(chain[0].inputs[0].name if chain else tensor.name)


def quantized_like(like: gs.Tensor, given: gs.Tensor, nodes: list[gs.Node]) -> gs.Tensor:
    """`given` through copies of the quantizers of `like`, which are added to `nodes`."""
    for node in chain_of(like):
        made = node.outputs[0]
        name = f"{given.name}/{role(node)}"
        output = gs.Variable(name, made.dtype, list(given.shape))
        nodes.append(gs.Node(node.op, name, dict(node.attrs), [given, *node.inputs[1:]], [output], domain=node.domain))
        given = output
    return given


def role(node: gs.Node) -> str:
    """What the name of a copy ends in."""
    if is_quantize(node):
        return "quantized"
    return "dequantized" if is_dequantize(node) else "rounded"
