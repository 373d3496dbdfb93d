"""Mul where an operand or the result is wider than int8: the product in int64, requantized.

    y = requantize((a - za) * (b - zb))

The multiplier has as many bits as the largest product leaves of 61: 29 for two int16.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.wide_mul import WideMul as WideMulKernel
from bevel.passes.operators.base import Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE_TO_TYPE, constants, function
from bevel.passes.operators.formats.wide_values import dtype_of, operand, output_attributes, rescaling
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.products.wide_sums import stored_output
from bevel.passes.operators.sums.elementwise import emit_elementwise

ZEROS = ("a_zero_point", "b_zero_point")
FACTORS = ("multiplier", "shift")
BODY = f"""
{constants(*ZEROS, *FACTORS)}
  a64 = Cast <to = 7> (a)
  b64 = Cast <to = 7> (b)
  a_steps = Sub (a64, a_zero_point)
  b_steps = Sub (b64, b_zero_point)
  accumulator = Mul (a_steps, b_steps)
{REQUANTIZE_TO_TYPE}
"""


class WideMul(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by Mul
    integer_op: ClassVar = "WideMul"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        a, b = (operand(site, index) for index in (0, 1))
        if isinstance(a, Reason):
            return a
        if isinstance(b, Reason):
            return b
        found = rescaling(np.array(a.scale * b.scale / site.scale), a.reach * b.reach)
        if isinstance(found, Reason):
            return found
        attrs = {
            "a_zero_point": a.zero_point,
            "b_zero_point": b.zero_point,
            "multiplier": int(found[0]),
            "shift": int(found[1]),
        }
        return site.call(self.integer_op, [a.tensor, b.tensor], attrs | output_attributes(site.result))

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, (*ZEROS, *FACTORS, *OUTPUT_ATTRIBUTES, "y_type"), ("a", "b"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        def kernel(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> WideMulKernel:
            return WideMulKernel(
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
