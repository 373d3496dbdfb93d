"""The quantizers of a tensor, once more: what only moves the values of a quantized tensor keeps its integers."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.graph.edit import producer
from bevel.passes.graph.quantizers import ROUNDINGS, is_dequantize, is_quantize, parameters

TO_CODES = frozenset({"Clip", "WideClip", "Table", "RoundRows"})  # roundings, whose results are codes


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
    """`given`, whose values `like` has, through its quantizers, copies of which are added to `nodes`.

    Values that are codes' already need no rounding to the codes of a format: the dequantizer's own scale finds them.
    """
    chain = chain_of(like)
    if chain and chain[0].op == "QuantizeLinear" and all(node.op in TO_CODES for node in chain[1:-1]):
        chain = [replaced(chain[0], chain[-1]), chain[-1]]
    for node in chain:
        made = node.outputs[0]
        name = f"{given.name}/{role(node)}"
        output = gs.Variable(name, made.dtype, list(given.shape))
        nodes.append(gs.Node(node.op, name, dict(node.attrs), [given, *node.inputs[1:]], [output], domain=node.domain))
        given = output
    return given


def replaced(quantizer: gs.Node, dequantizer: gs.Node) -> gs.Node:
    """A quantizer to the codes that `dequantizer` reads."""
    codes = gs.Variable("codes", dequantizer.inputs[0].dtype)
    return gs.Node(
        "QuantizeLinear", "codes", dict(quantizer.attrs), [quantizer.inputs[0], *dequantizer.inputs[1:]], [codes]
    )


def quantized_constant_like(like: gs.Tensor, given: gs.Tensor, nodes: list[gs.Node]) -> gs.Tensor:
    """`given`, some values of a constant `like`, as that is stored: it has a dequantizer alone."""
    node = producer(like)
    if node is None or not is_dequantize(node) or not isinstance(node.inputs[0], gs.Constant):
        return given
    parameters, codes = node.inputs[1:], node.inputs[0].values.dtype
    made = gs.Variable(f"{given.name}/quantized", codes, list(given.shape))
    back = gs.Variable(f"{given.name}/dequantized", given.dtype, list(given.shape))
    nodes.append(gs.Node("QuantizeLinear", made.name, {}, [given, *parameters], [made]))
    nodes.append(gs.Node("DequantizeLinear", back.name, {}, [made, *parameters], [back]))
    return back


def constant_values(tensor: gs.Tensor) -> NDArray[np.generic] | None:
    """The values of a constant, or of what a dequantizer with one scale makes of one; None of what is computed."""
    if isinstance(tensor, gs.Constant):
        return np.asarray(tensor.values)
    node = producer(tensor)
    found = parameters(node) if node is not None and node.op == "DequantizeLinear" else None
    if node is None or found is None or found.scale.ndim or not isinstance(node.inputs[0], gs.Constant):
        return None
    codes = np.asarray(node.inputs[0].values).astype(np.int32) - found.zero_point.astype(np.int32)
    return codes.astype(np.float32) * found.scale


def role(node: gs.Node) -> str:
    """What the name of a copy ends in."""
    if is_quantize(node):
        return "quantized"
    return "dequantized" if is_dequantize(node) else "rounded"
