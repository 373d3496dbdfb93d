"""Refuse, before anything is read, the element types that numpy and graphsurgeon take for others, and quantizers whose
integers are too short for an activation here.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from bevel.calib.errors import UserError
from bevel.passes.exchange.lower_opset import all_nodes

UNREAD = frozenset(
    number
    for name, number in TensorProto.DataType.items()
    if name.startswith(("FLOAT8", "FLOAT4", "COMPLEX")) and name != "FLOAT8E4M3FN"
)
SHORT = frozenset(number for name, number in TensorProto.DataType.items() if name in ("INT4", "UINT4", "INT2", "UINT2"))


def check_types(model: onnx.ModelProto) -> None:
    """Raises UserError naming the tensor or the node."""
    tensors = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    constants = [node for node in all_nodes(model) if node.op_type == "Constant" and node.output]
    tensors |= {node.output[0]: one.t.data_type for node in constants for one in node.attribute if one.HasField("t")}
    for name, kind in tensors.items():
        if kind in UNREAD:
            raise UserError(
                f"tensor {name} is of {word(kind)}, which cannot be read; float8e4m3fn, integers and floats can"
            )
    for node in all_nodes(model):
        if node.op_type == "QuantizeLinear" and node.input[0] not in tensors and made_by(node, tensors) in SHORT:
            kind = word(made_by(node, tensors))
            raise UserError(
                f"node {node.name or node.output[0]} (QuantizeLinear) makes {kind}; int8, uint8, int16, uint16 and "
                f"float8e4m3fn can be compiled: give the float model, with --activations {kind}"
            )


def made_by(quantizer: onnx.NodeProto, tensors: dict[str, int]) -> int:
    """The element type of its result, where that is known here; else 0."""
    if len(quantizer.input) > 2 and quantizer.input[2]:
        return tensors.get(quantizer.input[2], 0)
    return next((int(one.i) for one in quantizer.attribute if one.name == "output_dtype"), 0)


def word(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind)).lower()
