"""Quantized operators as ONNX and onnxruntime define them: which inputs are tensors, scales and zero points.

Source: the ONNX operator specification; onnxruntime, docs/ContribOperators.md (domain com.microsoft).
"""

from __future__ import annotations

from typing import NamedTuple

import onnx_graphsurgeon as gs

MICROSOFT = "com.microsoft"


class QOperand(NamedTuple):
    """Places among a node's inputs."""

    tensor: int
    scale: int
    zero_point: int


class Form(NamedTuple):
    """result: the places of its scale and zero point; bias: that of int32 sums at the product of the two scales."""

    operator: str
    operands: tuple[QOperand, ...]
    result: tuple[int, int]
    bias: int | None = None
    plain: tuple[int, ...] = ()  # places of inputs that are no quantized tensors, before the operands


ONE = (QOperand(0, 1, 2),)
TWO = (QOperand(0, 1, 2), QOperand(3, 4, 5))
FORMS = {
    "QLinearConv": Form("Conv", TWO, (6, 7), bias=8),
    "QLinearMatMul": Form("MatMul", TWO, (6, 7)),
    "QGemm": Form("Gemm", TWO, (7, 8), bias=6),
    "QLinearAdd": Form("Add", TWO, (6, 7)),
    "QLinearMul": Form("Mul", TWO, (6, 7)),
    "QLinearAveragePool": Form("AveragePool", ONE, (3, 4)),
    "QLinearGlobalAveragePool": Form("GlobalAveragePool", ONE, (3, 4)),
    "QLinearLeakyRelu": Form("LeakyRelu", ONE, (3, 4)),
    "QLinearSigmoid": Form("Sigmoid", ONE, (3, 4)),
    "QLinearSoftmax": Form("Softmax", ONE, (3, 4)),
    "QLinearWhere": Form("Where", (QOperand(1, 2, 3), QOperand(4, 5, 6)), (7, 8), plain=(0,)),
}
CONCAT = "QLinearConcat"
QOPERATORS = frozenset([*FORMS, CONCAT])
# What quantizes and dequantizes under onnxruntime's own domain, for widths that ONNX's had not yet.
CONTRIBUTED = frozenset(["QuantizeLinear", "DequantizeLinear"])
UNREAD = frozenset(
    ["QAttention", "QEmbedLayerNormalization", "QMoE", "QOrderedMatMul", "NhwcMaxPool", "MatMulNBits", "MatMulBnb4"]
)
# What takes its scales from the values of each input.
DYNAMIC = frozenset(["DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat"])
WAY_OUT = "give the float model, which Bevel quantizes, or one with constant scales (static QDQ)"


def form_of(node: gs.Node) -> Form | None:
    """How the node's inputs are to be read; None where it is no quantized operator."""
    if node.op == CONCAT:
        operands = (QOperand(place, place + 1, place + 2) for place in range(2, len(node.inputs), 3))
        return Form("Concat", tuple(operands), (0, 1))
    return FORMS.get(node.op)
