"""ReduceMean and GlobalAveragePool: an int32 sum, requantized with the number of summands.

y = requantize(sum(x) - count * zx),    ratio = sx / (sy * count)
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.kernels.reduce_mean import ReduceMean as ReduceMeanKernel
from bevel.calib.arithmetic import Output, fixed_point
from bevel.passes.lowering import Lowering, Order, Value
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.functions import OUTPUT_ATTRIBUTES, REQUANTIZE, constants, function

BODY = f"""
{constants("zero_sum", "multiplier", "shift")}
  x64 = Cast <to = 7> (x)
  total = ReduceSum <keepdims: int = @keepdims> (x64, axes)
  accumulator = Sub (total, zero_sum)
{REQUANTIZE}
"""


class ReduceMean(Operator):
    float_ops: ClassVar = frozenset({"ReduceMean", "GlobalAveragePool"})
    integer_op: ClassVar = "ReduceMean"
    clamps: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op not in self.float_ops:
            return None
        if reduced_axes(node) is None:
            return Reason("its axes are computed")
        return Match(node, tuple(node.inputs[:1]))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        axes = reduced_axes(site.node)
        if not isinstance(x, Activation) or axes is None:
            return Reason("its input is not quantized")
        count = prod(x.tensor.shape[axis] for axis in axes)
        if count * 255 >= 2**30:
            return Reason(f"a sum of {count} elements may overflow int32")
        multiplier, shift = fixed_point(x.scale / (site.scale * count))
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
        x, y = node.inputs[0], node.outputs[0]
        axes = {int(axis) for axis in lowering.constant(node.inputs[1])}
        value = lowering.value(x)
        order = gathered(value, axes)
        source = lowering.reorder(value, order, x.name)
        places = [place for place, axis in enumerate(order) if axis in axes]
        stored = source.stored
        count = prod(stored[place] for place in places)
        kernel = ReduceMeanKernel(
            outer=prod(stored[: places[0]]),
            reduced=count,
            inner=prod(stored[places[-1] + 1 :]),
            x_zero_point=node.attrs["zero_sum"] // count,
            multiplier=node.attrs["multiplier"],
            shift=node.attrs["shift"],
            output=Output(node.attrs["zero_point"], node.attrs["low"], node.attrs["high"]),
        )
        kept = order if node.attrs["keepdims"] else without(order, axes)
        lowering.emit(node, kernel, [source.buffer], (), y, kept)


def reduced_axes(node: gs.Node) -> tuple[int, ...] | None:
    """The axes a mean runs over, non-negative and sorted; None where they are computed."""
    rank = len(node.inputs[0].shape)
    if node.op == "GlobalAveragePool":
        return tuple(range(2, rank))
    given = node.attrs.get("axes")
    if len(node.inputs) > 1 and not node.inputs[1].is_empty():
        if not isinstance(node.inputs[1], gs.Constant):
            return None
        given = node.inputs[1].values
    if given is None or len(given) == 0:
        return None if node.attrs.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in given))


def gathered(value: Value, axes: set[int]) -> Order:
    """The value's order if the reduced axes lie side by side in it, else one with them last."""
    order = value.order
    places = [place for place, axis in enumerate(order) if axis in axes]
    between = [order[place] for place in range(places[0], places[-1] + 1)]
    if all(axis in axes or value.shape[axis] == 1 for axis in between):
        return order
    return (*(axis for axis in order if axis not in axes), *(axis for axis in order if axis in axes))


def without(order: Order, axes: set[int]) -> Order:
    """`order` after the reduced axes are gone and the rest renumbered."""
    kept = sorted(axis for axis in order if axis not in axes)
    return tuple(kept.index(axis) for axis in order if axis not in axes)
