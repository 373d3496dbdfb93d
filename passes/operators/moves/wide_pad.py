"""Pad of int16 and int32: onnxruntime pads int32, which holds both."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.pad import Pad as PadKernel
from bevel.passes.operators.base import Activation, Array, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import function
from bevel.passes.operators.formats.wide_values import dtype_of
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.products.wide_sums import element_type

BODY = """
  x32 = Cast <to = 6> (x)
  value32 = Cast <to = 6> (value)
  padded = Pad (x32, pads, value32)
  y = Cast <to: int = @y_type> (padded)
"""


class WidePad(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by Pad
    integer_op: ClassVar = "WidePad"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        source = site.inputs[0]
        if not isinstance(source, Activation):
            return Reason("its input is not quantized")
        before, after = pads_of(site.node, len(source.tensor.shape))
        # Of all axes: onnxruntime's transpose optimizer overlooks the axes of a Pad.
        widths = site.constant("pads", np.array([*before, *after], np.int64))
        value = site.constant("value", stored_value(site))
        attrs = {"y_type": element_type(site.result.dtype)}
        return site.call(self.integer_op, [source.tensor, widths, value], attrs)

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, ("y_type",), ("x", "pads", "value"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        lower_pad(node, lowering)


def stored_value(site: Site) -> Array:
    """The integer that the padding holds."""
    units = np.array(padding_value(site.node) / site.scale)
    rounded = np.rint(units) if site.steps is None else site.steps.round_float(units.astype(np.float32))
    return site.result.store(np.clip(rounded, -(2.0**31), 2.0**31).astype(np.int64))


def lower_pad(node: gs.Node, lowering: Lowering) -> None:
    value = lowering.value(node.inputs[0])
    before, after = pads_of(node, len(value.shape))
    kernel = PadKernel(
        shape=value.stored,
        pads_before=tuple(before[axis] for axis in value.order),
        pads_after=tuple(after[axis] for axis in value.order),
        value=int(lowering.constant(node.inputs[2])),
        dtype=dtype_of(node.inputs[0]),
    )
    lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def pads_of(node: gs.Node, rank: int) -> tuple[list[int], list[int]]:
    """The widths before and after each axis that a Pad with constant inputs says."""
    widths = [int(width) for width in node.inputs[1].values]
    given = node.inputs[3:4]
    axes = given[0].values if given and not given[0].is_empty() else np.arange(rank)
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[int(axis) % rank], after[int(axis) % rank] = widths[place], widths[place + len(axes)]
    return before, after


def padding_value(node: gs.Node) -> float:
    given = node.inputs[2:3]
    return float(np.ravel(given[0].values)[0]) if given and not given[0].is_empty() else 0.0
