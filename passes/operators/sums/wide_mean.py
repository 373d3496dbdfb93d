"""ReduceMean, GlobalAveragePool and ReduceSum where x or the result is wider than int8: the sum in int64, requantized.

y = requantize(sum(x) - count * zx),    ratio = sx / (sy * count),  of a sum sx / sy
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.wide_mean import WideMean as WideMeanKernel
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE_TO_TYPE, constants, function
from bevel.passes.operators.formats.wide_values import dtype_of, output_attributes, rescaling
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.products.wide_sums import stored_output
from bevel.passes.operators.sums.reduced import laid, reduced_axes, summands

BODY = f"""
{constants("zero_sum", "multiplier", "shift")}
  x64 = Cast <to = 7> (x)
  total = ReduceSum <keepdims: int = @keepdims> (x64, axes)
  accumulator = Sub (total, zero_sum)
{REQUANTIZE_TO_TYPE}
"""


class WideMean(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by ReduceMean
    integer_op: ClassVar = "WideMean"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        axes = reduced_axes(site.node)
        if not isinstance(x, Activation) or axes is None:
            return Reason("its input is not quantized")
        count = prod(x.tensor.shape[axis] for axis in axes)
        found = rescaling(np.array(x.scale / (site.scale * summands(site.node, count))), count * x.reach)
        if isinstance(found, Reason):
            return found
        attrs = {
            "keepdims": 1 if site.node.op == "GlobalAveragePool" else int(site.node.attrs.get("keepdims", 1)),
            "zero_sum": count * x.zero_point,
            "multiplier": int(found[0]),
            "shift": int(found[1]),
        }
        inputs = [x.tensor, site.constant("axes", np.array(axes, np.int64))]
        return site.call(self.integer_op, inputs, attrs | output_attributes(site.result))

    def function(self, opset: int) -> onnx.FunctionProto:
        attributes = ("keepdims", "zero_sum", "multiplier", "shift", *OUTPUT_ATTRIBUTES, "y_type")
        return function(self.integer_op, attributes, ("x", "axes"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        axes = {int(axis) for axis in lowering.constant(node.inputs[1])}
        x = laid(node, axes, bool(node.attrs["keepdims"]), lowering)
        kernel = WideMeanKernel(
            outer=x.outer,
            reduced=x.reduced,
            inner=x.inner,
            x_zero_point=node.attrs["zero_sum"] // x.reduced,
            multiplier=node.attrs["multiplier"],
            shift=node.attrs["shift"],
            output=stored_output(node),
            x_dtype=dtype_of(node.inputs[0]),
        )
        lowering.emit(node, kernel, [x.buffer], (), node.outputs[0], x.order)
