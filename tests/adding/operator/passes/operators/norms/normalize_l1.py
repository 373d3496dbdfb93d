"""LpNormalization of p = 1: x over the sum of magnitudes of its last axis."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.normalize_l1 import NormalizeL1 as NormalizeL1Op
from bevel.calib.arithmetic.requantize import fixed_point
from bevel.passes.operators.base import Activation, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, STORE, constants
from bevel.passes.operators.lowering import Lowering, onnx_order
from bevel.passes.operators.widths import output_attributes, stored_output

MOST = 1 << 10  # codes of the result that x / sum(|x|) = 1 may be

BODY = f"""
{constants("x_zero_point", "multiplier", "divisor")}
  last = Constant <value = int64[1] {{-1}}> ()
  one = Constant <value_int = 1> ()
  two = Constant <value_int = 2> ()
  raise = Constant <value_int = {MOST}> ()
  x64 = Cast <to = 7> (x)
  steps = Sub (x64, x_zero_point)
  sizes = Abs (steps)
  sum = ReduceSum <keepdims = 1> (sizes, last)
  none = Less (sum, one)
  positive = Where (none, one, sum)
  total = Mul (positive, divisor)
  scaled = Mul (steps, multiplier)
  twice = Mul (scaled, two)
  dividend = Add (twice, total)
  twice_total = Mul (total, two)
  above = Mul (twice_total, raise)
  raised = Add (dividend, above)
  quotient = Div (raised, twice_total)
  shifted = Sub (quotient, raise)
{STORE}
"""
NORMALIZE_L1 = Function("NormalizeL1", ("x_zero_point", "multiplier", "divisor", *OUTPUT_ATTRIBUTES), ("x",), BODY)


class NormalizeL1(Operator):
    float_ops: ClassVar = frozenset({"LpNormalization"})
    limits: ClassVar = "p = 1: the last axis"
    functions: ClassVar = (NORMALIZE_L1,)
    clamps: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op not in self.float_ops or node.attrs.get("p", 2) != 1:
            return None
        rank = len(node.inputs[0].shape)
        if node.attrs.get("axis", -1) % rank != rank - 1:
            return Reason("p = 1 along another axis than the last")
        return Match(node, tuple(node.inputs))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        (x,) = site.inputs
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        if 1 / site.scale >= MOST:
            return Reason("its result has too fine a scale")
        multiplier, shift = fixed_point(1 / site.scale)
        attrs = {"x_zero_point": x.zero_point, "multiplier": multiplier, "divisor": 2**shift}
        return site.call(NORMALIZE_L1, [x.tensor], attrs | output_attributes(site.result))

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        x = lowering.reorder(value, onnx_order(len(value.shape)), f"{node.name}/in_order")
        n = int(x.shape[-1])
        op = NormalizeL1Op(
            rows=int(np.prod(x.shape)) // n,
            n=n,
            x_zero_point=node.attrs["x_zero_point"],
            multiplier=node.attrs["multiplier"],
            shift=int(node.attrs["divisor"]).bit_length() - 1,
            output=stored_output(node),
        )
        lowering.emit(node, op, [x.buffer], (), node.outputs[0], x.order)
