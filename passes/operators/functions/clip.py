"""Relu and Clip that nothing could absorb, between equal quantizations: the integers are clamped.

Between different quantizations they are a table (`bevel.passes.operators.functions.table`). onnxruntime's Clip of int16
has no implementation; that of int32 holds both.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.clip import Clip as ClipKernel
from bevel.passes.operators.base import Activation, Function, IntegerOperator, Reason, Site
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.widths import dtype_of, element_type

BODY = """
  low64 = Constant <value_int: int = @low> ()
  high64 = Constant <value_int: int = @high> ()
  low32 = Cast <to = 6> (low64)
  high32 = Cast <to = 6> (high64)
  x32 = Cast <to = 6> (x)
  clamped = Clip (x32, low32, high32)
  y = Cast <to: int = @y_type> (clamped)
"""
WIDE_CLIP = Function("WideClip", ("low", "high", "y_type"), ("x",), BODY)


class Clip(IntegerOperator):
    functions: ClassVar = (WIDE_CLIP,)
    standard: ClassVar = frozenset({"Clip"})

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        low, high = bounds(node)
        kernel = ClipKernel(prod(value.shape), low, high, dtype_of(node.inputs[0]))
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def clip(site: Site) -> list[gs.Node] | Reason:
    """A Relu or Clip that leaves the quantization as it is."""
    x, (low, high) = site.inputs[0], (site.result.low, site.result.high)
    if not isinstance(x, Activation) or not site.keeps_quantization():
        return Reason("its input and output are quantized differently")
    if site.wide:
        return [wide_clip(site.name, x.tensor, site.output, low, high)]
    limits = [site.constant(role, np.array(bound, np.int8)) for role, bound in (("low", low), ("high", high))]
    return [gs.Node("Clip", site.name, {}, [x.tensor, *limits], [site.output])]


def wide_clip(name: str, x: gs.Tensor, output: gs.Variable, low: int, high: int) -> gs.Node:
    """x, clamped to [low, high], in `output` of the same type."""
    return WIDE_CLIP.call(name, [x], {"low": low, "high": high, "y_type": element_type(dtype_of(x))}, output)


def bounds(node: gs.Node) -> tuple[int, int]:
    """What a clamp of either kind leaves."""
    if node.op == WIDE_CLIP.name:
        return int(node.attrs["low"]), int(node.attrs["high"])
    low, high = (int(tensor.values) for tensor in node.inputs[1:3])
    return low, high
