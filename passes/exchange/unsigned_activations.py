"""int8 activations of a QDQ model as uint8: the spelling that other runtimes have their fast kernels for.

    s * (q - z) == s * ((q + 128) - (z + 128))

Exact: QuantizeLinear rounds x / s alike and saturates at the same reals. Weights stay int8; uint8 times int8 is what
onnxruntime, OpenVINO and the dot-product instructions of x86 take. Tensors that share a scale stay alike: a model keeps
int8 throughout if anything but a DequantizeLinear reads codes (activations of fewer bits are rounded there), or if
weights are wider than 8 bits, which onnxruntime would put into a QLinearConv that takes none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from bevel.passes.operators.formats.unpack import UNPACKING

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # whose weights are signed
WIDE = (TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32)
OFFSET = 128

Readers = dict[str, list[onnx.NodeProto]]


@dataclass(frozen=True)
class SignedCodes:
    """An int8 tensor, the quantizers around it, and whether it is a constant."""

    name: str
    quantizers: tuple[onnx.NodeProto, ...]
    stored: bool


def unsigned_activations(model: onnx.ModelProto) -> None:
    """Edit `model`, as `bevel.passes.exchange.export` makes it."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = readers_of(model.graph)
    if any(rounded(node, readers) for node in model.graph.node) or has_wide_weights(model.graph, constants, readers):
        return
    for codes in list(signed_codes(model.graph, constants, readers)):
        for node in codes.quantizers:
            node.input[2] = moved(model.graph, constants, node.input[2])
        if codes.stored:
            name = moved(model.graph, constants, codes.name)
            for node in codes.quantizers:
                node.input[0] = name
    drop_unread(model.graph)


def readers_of(graph: onnx.GraphProto) -> Readers:
    """The nodes that read each tensor; a graph's output reads like a node without a name."""
    readers: Readers = {}
    for node in (*graph.node, *(onnx.NodeProto(input=[port.name]) for port in graph.output)):
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def rounded(node: onnx.NodeProto, readers: Readers) -> bool:
    """Whether anything but a DequantizeLinear reads what a quantizer makes."""
    return node.op_type == "QuantizeLinear" and not only_dequantized(node.output[0], readers)


def has_wide_weights(graph: onnx.GraphProto, constants: dict[str, onnx.TensorProto], readers: Readers) -> bool:
    """Whether a product's weights are integers of 16 or 32 bits."""
    types = {name: tensor.data_type for name, tensor in constants.items()}
    types |= {node.output[0]: types.get(node.input[1], 0) for node in graph.node if node.op_type in UNPACKING}
    return any(
        node.op_type == "DequantizeLinear"
        and types.get(node.input[0]) in WIDE
        and any(reader.op_type in PRODUCTS and node.output[0] == reader.input[1] for reader in readers[node.output[0]])
        for node in graph.node
    )


def only_dequantized(name: str, readers: Readers) -> bool:
    return all(node.op_type == "DequantizeLinear" and node.input[0] == name for node in readers.get(name, []))


def signed_codes(
    graph: onnx.GraphProto, constants: dict[str, onnx.TensorProto], readers: Readers
) -> Iterator[SignedCodes]:
    """int8 codes with one scale that only dequantizers read, but for the weights of products."""
    makers = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    for name, behind in readers.items():
        if not only_dequantized(name, readers):
            continue
        stored = name in constants
        if not stored and name not in makers:
            continue
        quantizers = behind if stored else [makers[name], *behind]
        weighs = stored and any(is_weight(node.output[0], readers) for node in behind)
        if not weighs and all(is_signed(node, constants) for node in quantizers):
            yield SignedCodes(name, tuple(quantizers), stored)


def is_weight(real: str, readers: Readers) -> bool:
    """Whether a product reads `real` in another place than its first."""
    return any(node.op_type in PRODUCTS and real in node.input[1:] for node in readers.get(real, []))


def is_signed(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None
    return zero_point is not None and zero_point.data_type == TensorProto.INT8 and not list(zero_point.dims)


def moved(graph: onnx.GraphProto, constants: dict[str, onnx.TensorProto], name: str) -> str:
    """The name of an int8 constant's values as uint8."""
    new = f"{name}/uint8"
    if new not in constants:
        values = numpy_helper.to_array(constants[name]).astype(np.int16) + OFFSET
        constants[new] = numpy_helper.from_array(values.astype(np.uint8), new)
        graph.initializer.append(constants[new])
    return new


def drop_unread(graph: onnx.GraphProto) -> None:
    """Forget initializers that no node reads and no output is."""
    read = {name for node in graph.node for name in node.input} | {port.name for port in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    if len(kept) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)
