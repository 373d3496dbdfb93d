"""Clamping int16 and int32: onnxruntime's Clip of int16 has no implementation, that of int32 holds both."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.clip import Clip as ClipKernel
from bevel.passes.operators.base import DOMAIN, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import function
from bevel.passes.operators.formats.wide_values import dtype_of
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.products.wide_sums import element_type

WIDE_CLIP = "WideClip"
BODY = """
  low64 = Constant <value_int: int = @low> ()
  high64 = Constant <value_int: int = @high> ()
  low32 = Cast <to = 6> (low64)
  high32 = Cast <to = 6> (high64)
  x32 = Cast <to = 6> (x)
  clamped = Clip (x32, low32, high32)
  y = Cast <to: int = @y_type> (clamped)
"""


class WideClip(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by Clip, and by quantizers of 9 to 15 bits
    integer_op: ClassVar = WIDE_CLIP

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        return Reason("it is made of a Clip")

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, ("low", "high", "y_type"), ("x",), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        kernel = ClipKernel(prod(value.shape), node.attrs["low"], node.attrs["high"], dtype_of(node.inputs[0]))
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def wide_clip(name: str, x: gs.Tensor, output: gs.Variable, low: int, high: int) -> gs.Node:
    """x, clamped to [low, high], in `output` of the same type."""
    attrs = {"low": low, "high": high, "y_type": element_type(dtype_of(x))}
    return gs.Node(WIDE_CLIP, name, attrs, [x], [output], domain=DOMAIN)
