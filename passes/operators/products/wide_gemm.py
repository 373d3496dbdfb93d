"""Matrix product whose integers pass int8 or whose sums pass int32 (`wide_sums`): MatMul on int32 or int64."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.encodings.coded import shortest
from bevel.backends.program.ops.coded_conv import call_of, of_gemm
from bevel.passes.graph.coded_constant import CodedConstant
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import REQUANTIZE_TO_TYPE, function
from bevel.passes.operators.lowering import Lowering, onnx_order, rows_as_they_lie
from bevel.passes.operators.products.wide_sums import (
    ATTRIBUTES,
    INPUTS,
    WIDEN,
    kernel_bias,
    stored_output,
    stored_weights,
    wide_sums,
)

BODY = f"""
{WIDEN}
  sums = MatMul (centered, weights)
  accumulator = Add (sums, b)
{REQUANTIZE_TO_TYPE}
"""


class WideGemm(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # `gemm.Gemm` matches, and hands on what int8 cannot hold
    integer_op: ClassVar = "WideGemm"
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        """Weights are [k, n] here, whatever the node says."""
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        sums = wide_sums(site, x, channel_axis=1, summed_axis=0)
        if isinstance(sums, Reason):
            return sums
        return site.call(self.integer_op, [x.tensor, *sums.constants(site, trailing=0)], sums.attributes(site, x))

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, ATTRIBUTES, INPUTS, BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        weights, bias, multiplier, shift = (lowering.constant(tensor) for tensor in node.inputs[1:5])
        value = lowering.as_it_lies(x)
        # Rows in another order would tear blocks apart.
        in_place = len(value.shape) > len(x.shape) and not isinstance(node.inputs[1], CodedConstant)
        if in_place:
            stored = shortest(rows_as_they_lie(weights, value).T)
        else:
            value = lowering.reorder(lowering.value(x), onnx_order(len(x.shape)), x.name)
            stored = stored_weights(node.inputs[1], lowering, (1, 0))
        k, n = weights.shape
        plain = of_gemm(prod(x.shape[:-1]), k, n, stored_output(node))
        rescaling = (kernel_bias(bias, weights.T, int(node.attrs["x_zero_point"])), multiplier, shift)
        special = call_of(plain, stored, rescaling, str(np.dtype(x.dtype)), wide=bias.dtype == np.int64)
        lowering.emit(node, special.kernel, [value.buffer], special.constants, y, onnx_order(len(y.shape)))
