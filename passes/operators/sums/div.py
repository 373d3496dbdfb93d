"""Div by a tensor, broadcast as ONNX does: a product with a reciprocal that a table holds for each of 256 divisors.

    y = requantize((a - za) * r[b]),    r[q] = round(2**22 / (q - zb)),    ratio = sa / (sb * sy * 2**22)

A reciprocal is at most 2**-15 of itself off, an eight-thousandth of a step where the quotient is below 128 steps; then
there is one rounding. A divisor of 0 counts as one step: the result saturates, or nearly so.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.div import Div as DivKernel
from bevel.calib.arithmetic.requantize import Output, fixed_point
from bevel.passes.operators.base import Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE, constants, function
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.elementwise import emit_elementwise, operand
from bevel.passes.operators.sums.wide_div import WideDiv

RECIPROCAL_BITS = 22  # 255 * 2**22 stays below 2**30
FACTORS = ("a_zero_point", "multiplier", "shift")
# Gather counts negative indices from the end, so the stored table starts with q = 0 and ends with q = -1.
BODY = f"""
{constants(*FACTORS)}
  a64 = Cast <to = 7> (a)
  a_steps = Sub (a64, a_zero_point)
  index = Cast <to = 6> (b)
  reciprocal32 = Gather (reciprocals, index)
  reciprocal = Cast <to = 7> (reciprocal32)
  accumulator = Mul (a_steps, reciprocal)
{REQUANTIZE}
"""


class Div(Operator):
    float_ops: ClassVar = frozenset({"Div"})
    integer_op: ClassVar = "Div"
    clamps: ClassVar = True
    wide: ClassVar = True

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        if site.wide:
            return WideDiv().integerize(site)
        a, b = (operand(site, index) for index in (0, 1))
        if isinstance(a, Reason):
            return a
        if isinstance(b, Reason):
            return b
        multiplier, shift = fixed_point(a.scale / (b.scale * site.scale * 2**RECIPROCAL_BITS))
        steps = np.arange(-128, 128) - b.zero_point
        reciprocals = np.rint(2.0**RECIPROCAL_BITS / np.where(steps == 0, 1, steps)).astype(np.int32)
        attrs = {
            "a_zero_point": a.zero_point,
            "multiplier": multiplier,
            "shift": shift,
            "zero_point": site.result.zero_point,
            "low": site.result.low,
            "high": site.result.high,
        }
        inputs = [a.tensor, b.tensor, site.constant("reciprocals", np.roll(reciprocals, -128))]
        return site.call(self.integer_op, inputs, attrs)

    def function(self, opset: int) -> onnx.FunctionProto:
        attributes = (*FACTORS, *OUTPUT_ATTRIBUTES)
        return function(self.integer_op, attributes, ("a", "b", "reciprocals"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        def kernel(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> DivKernel:
            return DivKernel(
                shape=shape,
                a_shape=a,
                b_shape=b,
                a_zero_point=node.attrs["a_zero_point"],
                multiplier=node.attrs["multiplier"],
                shift=node.attrs["shift"],
                output=Output(node.attrs["zero_point"], node.attrs["low"], node.attrs["high"]),
            )

        table = np.roll(lowering.constant(node.inputs[2]), 128)
        emit_elementwise(node, lowering, kernel, [table])
