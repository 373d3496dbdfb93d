"""Div where an operand or the result is wider than int8: a division of integers, rounded once, half away from 0.

    y = clamp(zy +- (2 * |a - za| * m + d) / (2 * d)),    d = |b - zb| * 2**n,  m = round(2**n * sa / (sb * sy))

n leaves m 31 bits where d allows it. A divisor of 0 counts as one step.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.wide_div import WideDiv as WideDivKernel
from bevel.calib.arithmetic.requantize import MULTIPLIER_BITS
from bevel.passes.operators.base import Match, Operator, Reason, Site
from bevel.passes.operators.bodies import DIVISOR, OUTPUT_ATTRIBUTES, PLACE, constants, function
from bevel.passes.operators.formats.wide_values import dtype_of, operand, output_attributes
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.products.wide_sums import stored_output
from bevel.passes.operators.sums.elementwise import emit_elementwise

DIVISOR_BITS = 60
FACTORS = ("a_zero_point", "b_zero_point", "multiplier", "shift")
BODY = f"""
{constants(*FACTORS)}
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  two = Constant <value_int = 2> ()
  a64 = Cast <to = 7> (a)
  b64 = Cast <to = 7> (b)
  a_steps = Sub (a64, a_zero_point)
  b_steps = Sub (b64, b_zero_point)
  a_is_negative = Less (a_steps, zero)
  b_is_negative = Less (b_steps, zero)
  a_opposite = Sub (zero, a_steps)
  b_opposite = Sub (zero, b_steps)
  a_size = Where (a_is_negative, a_opposite, a_steps)
  b_size = Where (b_is_negative, b_opposite, b_steps)
  b_is_zero = Equal (b_size, zero)
  b_counted = Where (b_is_zero, one, b_size)
{DIVISOR}
  divided_by = Mul (b_counted, divisor)
  product = Mul (a_size, multiplier)
  twice = Mul (product, two)
  sum = Add (twice, divided_by)
  divided_by_twice = Mul (divided_by, two)
  quotient = Div (sum, divided_by_twice)
  opposite = Sub (zero, quotient)
  is_negative = Xor (a_is_negative, b_is_negative)
  shifted = Where (is_negative, opposite, quotient)
{PLACE}
  y = Cast <to: int = @y_type> (clamped)
"""


class WideDiv(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by Div
    integer_op: ClassVar = "WideDiv"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        a, b = (operand(site, index) for index in (0, 1))
        if isinstance(a, Reason):
            return a
        if isinstance(b, Reason):
            return b
        ratio = a.scale / (b.scale * site.scale)
        shift = min(MULTIPLIER_BITS - int(np.frexp(ratio)[1]), DIVISOR_BITS - int(b.reach).bit_length())
        if shift < 0:
            return Reason(f"a step of its dividend over one of its divisor is {ratio:.3g} steps of its result")
        attrs = {
            "a_zero_point": a.zero_point,
            "b_zero_point": b.zero_point,
            "multiplier": min(round(ratio * 2**shift), 2**MULTIPLIER_BITS - 1),
            "shift": shift,
        }
        return site.call(self.integer_op, [a.tensor, b.tensor], attrs | output_attributes(site.result))

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, (*FACTORS, *OUTPUT_ATTRIBUTES, "y_type"), ("a", "b"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        def kernel(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> WideDivKernel:
            return WideDivKernel(
                shape=shape,
                a_shape=a,
                b_shape=b,
                a_zero_point=node.attrs["a_zero_point"],
                b_zero_point=node.attrs["b_zero_point"],
                multiplier=node.attrs["multiplier"],
                shift=node.attrs["shift"],
                output=stored_output(node),
                a_dtype=dtype_of(node.inputs[0]),
                b_dtype=dtype_of(node.inputs[1]),
            )

        emit_elementwise(node, lowering, kernel)
