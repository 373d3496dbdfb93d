"""ReduceMean, GlobalAveragePool and ReduceSum: an int32 sum, requantized, of a mean with the number of summands.

y = requantize(sum(x) - count * zx),    ratio = sx / (sy * count),  of a sum sx / sy
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.reduce_mean import ReduceMean as ReduceMeanKernel
from bevel.calib.arithmetic.requantize import Output, fixed_point
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE, constants, function
from bevel.passes.operators.formats.round_even import exact_sums, round_even
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.reduced import laid, reduced_axes, summands
from bevel.passes.operators.sums.wide_mean import WideMean

BODY = f"""
{constants("zero_sum", "multiplier", "shift")}
  x64 = Cast <to = 7> (x)
  total = ReduceSum <keepdims: int = @keepdims> (x64, axes)
  accumulator = Sub (total, zero_sum)
{REQUANTIZE}
"""


class ReduceMean(Operator):
    float_ops: ClassVar = frozenset({"ReduceMean", "GlobalAveragePool"})
    limits: ClassVar = "any axes, constant"
    integer_op: ClassVar = "ReduceMean"
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op not in self.float_ops:
            return None
        if reduced_axes(node) is None:
            return Reason("its axes are computed")
        return Match(node, tuple(node.inputs[:1]))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        if site.wide:
            return WideMean().integerize(site)
        x = site.inputs[0]
        axes = reduced_axes(site.node)
        if not isinstance(x, Activation) or axes is None:
            return Reason("its input is not quantized")
        count = prod(x.tensor.shape[axis] for axis in axes)
        if count * 255 >= 2**30:
            return Reason(f"a sum of {count} elements may overflow int32")
        reach = x.reach * count
        sums = exact_sums(site, x.scale / summands(site.node, count), reach)
        if sums is not None:
            nodes = WideMean().integerize(sums)
            return nodes if isinstance(nodes, Reason) else [*nodes, round_even(site, sums, reach)]
        multiplier, shift = fixed_point(x.scale / (site.scale * summands(site.node, count)))
        attrs = {
            "keepdims": 1 if site.node.op == "GlobalAveragePool" else int(site.node.attrs.get("keepdims", 1)),
            "zero_sum": count * x.zero_point,
            "multiplier": multiplier,
            "shift": shift,
            "zero_point": site.result.zero_point,
            "low": site.result.low,
            "high": site.result.high,
        }
        return site.call(self.integer_op, [x.tensor, site.constant("axes", np.array(axes, np.int64))], attrs)

    def function(self, opset: int) -> onnx.FunctionProto:
        attributes = ("keepdims", "zero_sum", "multiplier", "shift", *OUTPUT_ATTRIBUTES)
        return function(self.integer_op, attributes, ("x", "axes"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        axes = {int(axis) for axis in lowering.constant(node.inputs[1])}
        x = laid(node, axes, bool(node.attrs["keepdims"]), lowering)
        kernel = ReduceMeanKernel(
            outer=x.outer,
            reduced=x.reduced,
            inner=x.inner,
            x_zero_point=node.attrs["zero_sum"] // x.reduced,
            multiplier=node.attrs["multiplier"],
            shift=node.attrs["shift"],
            output=Output(node.attrs["zero_point"], node.attrs["low"], node.attrs["high"]),
        )
        lowering.emit(node, kernel, [x.buffer], (), node.outputs[0], x.order)


class ReduceSum(ReduceMean):
    float_ops: ClassVar = frozenset({"ReduceSum"})
    integer_op: ClassVar = "ReduceSum"
