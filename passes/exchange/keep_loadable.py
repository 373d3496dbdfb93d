"""An integer model with float nodes, so written that onnxruntime's own rewrites do not break it.

Behind a DequantizeLinear of int8 whose reader moves elements or takes the largest, onnxruntime puts a QuantizeLinear
and another DequantizeLinear (QDQPropagationTransformer), from opset 21 on with an `output_dtype`; where it then turns
int8 into uint8 (QDQS8ToU8Transformer), the `output_dtype` stays int8, and the model is refused: "output_dtype INT8 does
not match y_zero_point type UINT8" (seen in 1.32.0). Under opset 20 there is no `output_dtype`.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from bevel.passes.exchange.lower_opset import STANDARD, lower_opset

PROPAGATED = frozenset(("Expand", "Flatten", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"))
BEFORE = 20  # the newest opset without `output_dtype`
NEWER = frozenset((TensorProto.INT16, TensorProto.UINT16, TensorProto.INT4, TensorProto.UINT4))  # to quantize to


def keep_loadable(model: onnx.ModelProto) -> None:
    """Lower the opset of `model` in place where a rewrite would break it, and its nodes and types allow that."""
    if not is_propagated(model) or not NEWER.isdisjoint(one.data_type for one in model.graph.initializer):
        return
    lower_opset(model, BEFORE)
    version = max(entry.version for entry in model.opset_import if entry.domain in STANDARD)
    for function in model.functions:
        for entry in function.opset_import:
            if entry.domain in STANDARD:
                entry.version = version


def is_propagated(model: onnx.ModelProto) -> bool:
    """Whether onnxruntime quantizes again behind a node."""
    dequantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return any(node.op_type in PROPAGATED and node.input[0] in dequantized for node in model.graph.node)
