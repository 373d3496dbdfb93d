"""Where: of two tensors on different scales the one that a truth value says, weighted as in Add, and one rounding.

    y = clamp(zy + ((c ? a * A + Ca : b * B + Cb) >> n)),    A = round(2**n * sa / sy),  Ca = 2**(n - 1) - za * A

The truth values are constant, come in, or are what a comparison of integers makes.
"""

from __future__ import annotations

from typing import ClassVar

import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.where import Where as WhereKernel
from bevel.passes.operators.base import Match, Operator, Reason, Site
from bevel.passes.operators.bodies import DIVISOR, FLOOR, OUTPUT_ATTRIBUTES, PLACE, constants, function
from bevel.passes.operators.formats.wide_values import dtype_of, output_attributes
from bevel.passes.operators.formats.wide_values import operand as wide_operand
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.products.wide_sums import stored_output
from bevel.passes.operators.sums.add import common_shift
from bevel.passes.operators.sums.elementwise import emit_elementwise, operand
from bevel.passes.operators.sums.wide_add import common_shift as wide_shift

WEIGHTS = ("a_multiplier", "b_multiplier", "a_offset", "b_offset", "shift")
BODY = f"""
{constants(*WEIGHTS)}
  a64 = Cast <to = 7> (a)
  b64 = Cast <to = 7> (b)
  a_share = Mul (a64, a_multiplier)
  b_share = Mul (b64, b_multiplier)
  a_sum = Add (a_share, a_offset)
  b_sum = Add (b_share, b_offset)
  sum = Where (c, a_sum, b_sum)
{DIVISOR}
{FLOOR}
{PLACE}
  y = Cast <to: int = @y_type> (clamped)
"""


class Where(Operator):
    float_ops: ClassVar = frozenset({"Where"})
    integer_op: ClassVar = "Where"
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "Where" or node.outputs[0].dtype != node.inputs[1].dtype:
            return None
        return Match(node, tuple(node.inputs[1:]), (node.inputs[0],))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        a, b = ((wide_operand if site.wide else operand)(site, index) for index in (0, 1))
        if isinstance(a, Reason):
            return a
        if isinstance(b, Reason):
            return b
        ratios = (a.scale / site.scale, b.scale / site.scale)
        shift = wide_shift(ratios, (a.reach, b.reach)) if site.wide else common_shift(ratios)
        if shift is None:
            return Reason(f"its operands are {max(ratios):.3g} times coarser than its result")
        first, second = (round(ratio * 2**shift) for ratio in ratios)
        attrs = {
            "a_multiplier": first,
            "b_multiplier": second,
            "a_offset": 2**shift // 2 - a.zero_point * first,
            "b_offset": 2**shift // 2 - b.zero_point * second,
            "shift": shift,
        } | output_attributes(site.result)
        return site.call(self.integer_op, [site.others[0], a.tensor, b.tensor], attrs)

    def function(self, opset: int) -> onnx.FunctionProto:
        attributes = (*WEIGHTS, *OUTPUT_ATTRIBUTES, "y_type")
        return function(self.integer_op, attributes, ("c", "a", "b"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        def kernel(shape: tuple[int, ...], c: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> WhereKernel:
            return WhereKernel(
                shape=shape,
                c_shape=c,
                a_shape=a,
                b_shape=b,
                a_multiplier=node.attrs["a_multiplier"],
                b_multiplier=node.attrs["b_multiplier"],
                a_offset=node.attrs["a_offset"],
                b_offset=node.attrs["b_offset"],
                shift=node.attrs["shift"],
                output=stored_output(node),
                a_dtype=dtype_of(node.inputs[1]),
                b_dtype=dtype_of(node.inputs[2]),
            )

        emit_elementwise(node, lowering, kernel, operands=3)
