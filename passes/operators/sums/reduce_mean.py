"""ReduceMean, GlobalAveragePool and ReduceSum: a sum, requantized, of a mean with the number of summands.

y = requantize(sum(x) - count * zx),    ratio = sx / (sy * count),  of a sum sx / sy

The sum of int8 fits int32. That of wider integers is int64, and the multiplier has the bits that it leaves.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.reduce_mean import ReduceMean as ReduceMeanKernel
from bevel.calib.arithmetic.requantize import fixed_point
from bevel.passes.operators.base import Activation, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE, constants
from bevel.passes.operators.formats.round_even import by_exact_sums
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.reduced import laid, matched_reduction, reduced_axes
from bevel.passes.operators.widths import dtype_of, output_attributes, rescaling, stored_output

BODY = f"""
{constants("zero_sum", "multiplier", "shift")}
  x64 = Cast <to = 7> (x)
  total = ReduceSum <keepdims: int = @keepdims> (x64, axes)
  accumulator = Sub (total, zero_sum)
{REQUANTIZE}
"""
ATTRIBUTES = ("keepdims", "zero_sum", "multiplier", "shift", *OUTPUT_ATTRIBUTES)
REDUCE_MEAN, REDUCE_SUM = (Function(name, ATTRIBUTES, ("x", "axes"), BODY) for name in ("ReduceMean", "ReduceSum"))


class ReduceMean(Operator):
    float_ops: ClassVar = frozenset({"ReduceMean", "GlobalAveragePool", "ReduceSum"})
    limits: ClassVar = "any axes, constant"
    functions: ClassVar = (REDUCE_MEAN, REDUCE_SUM)
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return matched_reduction(node) if node.op in self.float_ops else None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, axes, node = site.inputs[0], reduced_axes(site.node), site.node
        if not isinstance(x, Activation) or axes is None:
            return Reason("its input is not quantized")
        count = prod(x.tensor.shape[axis] for axis in axes)
        if not site.wide and count * 255 >= 2**30:
            return Reason(f"a sum of {count} elements may overflow int32")
        reach, divisor = count * x.reach, 1 if node.op == "ReduceSum" else count
        exact = by_exact_sums(site, x.scale / divisor, reach, self.integerize)
        if exact is not None:
            return exact
        ratio = x.scale / (site.scale * divisor)
        factors = rescaling(np.array(ratio), reach) if site.wide else fixed_point(ratio)
        if isinstance(factors, Reason):
            return factors
        attrs = {
            "keepdims": 1 if node.op == "GlobalAveragePool" else int(node.attrs.get("keepdims", 1)),
            "zero_sum": count * x.zero_point,
            "multiplier": int(factors[0]),
            "shift": int(factors[1]),
        }
        inputs = [x.tensor, site.constant("axes", np.array(axes, np.int64))]
        made = REDUCE_SUM if node.op == "ReduceSum" else REDUCE_MEAN
        return site.call(made, inputs, attrs | output_attributes(site.result))

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
            output=stored_output(node),
            x_dtype=dtype_of(node.inputs[0]),
        )
        lowering.emit(node, kernel, [x.buffer], (), node.outputs[0], x.order)
