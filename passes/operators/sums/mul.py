"""Mul of two tensors, broadcast as ONNX does: y = requantize((a - za) * (b - zb))."""

from __future__ import annotations

from typing import ClassVar

import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.mul import Mul as MulKernel
from bevel.calib.arithmetic.requantize import Output, fixed_point
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site, Weight
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE, constants, function
from bevel.passes.operators.formats.round_even import exact_sums, round_even
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.elementwise import emit_elementwise, operand
from bevel.passes.operators.sums.wide_mul import WideMul

ZEROS = ("a_zero_point", "b_zero_point")
FACTORS = ("multiplier", "shift")
BODY = f"""
{constants(*ZEROS, *FACTORS)}
  a64 = Cast <to = 7> (a)
  b64 = Cast <to = 7> (b)
  a_steps = Sub (a64, a_zero_point)
  b_steps = Sub (b64, b_zero_point)
  accumulator = Mul (a_steps, b_steps)
{REQUANTIZE}
"""


class Mul(Operator):
    float_ops: ClassVar = frozenset({"Mul"})
    integer_op: ClassVar = "Mul"
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return Match(node, tuple(node.inputs[:2])) if node.op == "Mul" else None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        if site.wide:
            return WideMul().integerize(site)
        a, b = (operand(site, index) for index in (0, 1))
        if isinstance(a, Reason):
            return a
        if isinstance(b, Reason):
            return b
        reach = a.reach * b.reach
        stored = all(isinstance(one, Activation | Weight) for one in site.inputs)
        sums = exact_sums(site, a.scale * b.scale, reach) if stored else None
        if sums is not None:
            nodes = WideMul().integerize(sums)
            return nodes if isinstance(nodes, Reason) else [*nodes, round_even(site, sums, reach)]
        multiplier, shift = fixed_point(a.scale * b.scale / site.scale)
        attrs = {
            "a_zero_point": a.zero_point,
            "b_zero_point": b.zero_point,
            "multiplier": multiplier,
            "shift": shift,
            "zero_point": site.result.zero_point,
            "low": site.result.low,
            "high": site.result.high,
        }
        return site.call(self.integer_op, [a.tensor, b.tensor], attrs)

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, (*ZEROS, *FACTORS, *OUTPUT_ATTRIBUTES), ("a", "b"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        def kernel(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> MulKernel:
            return MulKernel(
                shape=shape,
                a_shape=a,
                b_shape=b,
                a_zero_point=node.attrs["a_zero_point"],
                b_zero_point=node.attrs["b_zero_point"],
                multiplier=node.attrs["multiplier"],
                shift=node.attrs["shift"],
                output=Output(node.attrs["zero_point"], node.attrs["low"], node.attrs["high"]),
            )

        emit_elementwise(node, lowering, kernel)
