"""Add and Sub where an operand or the result is wider than int8: the weighted sum of `Add`, in int64.

    y = clamp(zy + ((a * A + b * B + C) >> n)),    A = round(2**n * sa / sy),  B = +-round(2**n * sb / sy)

n is the largest shift for which A and B fit int32 and the sum stays below 2**61.
"""

from __future__ import annotations

from typing import ClassVar

import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.wide_add import WideAdd as WideAddKernel
from bevel.passes.operators.base import Match, Operator, Reason, Site
from bevel.passes.operators.bodies import DIVISOR, FLOOR, OUTPUT_ATTRIBUTES, PLACE, constants, function
from bevel.passes.operators.formats.wide_values import dtype_of, operand, output_attributes
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.products.wide_sums import stored_output
from bevel.passes.operators.sums.elementwise import emit_elementwise

MULTIPLIER_LIMIT = 2**31
SUM_LIMIT = 2**61
LARGEST_SHIFT = 60
WEIGHTS = ("a_multiplier", "b_multiplier", "offset", "shift")
BODY = f"""
{constants(*WEIGHTS)}
  a64 = Cast <to = 7> (a)
  b64 = Cast <to = 7> (b)
  a_share = Mul (a64, a_multiplier)
  b_share = Mul (b64, b_multiplier)
  shares = Add (a_share, b_share)
  sum = Add (shares, offset)
{DIVISOR}
{FLOOR}
{PLACE}
  y = Cast <to: int = @y_type> (clamped)
"""


class WideAdd(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by Add
    integer_op: ClassVar = "WideAdd"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        a, b = (operand(site, index) for index in (0, 1))
        if isinstance(a, Reason):
            return a
        if isinstance(b, Reason):
            return b
        sign = -1 if site.node.op == "Sub" else 1
        ratios = (a.scale / site.scale, sign * b.scale / site.scale)
        shift = common_shift(ratios, (a.reach, b.reach))
        if shift is None:
            return Reason(f"its operands are {max(map(abs, ratios)):.3g} times coarser than its result")
        first, second = (round(ratio * 2**shift) for ratio in ratios)
        attrs = {
            "a_multiplier": first,
            "b_multiplier": second,
            "offset": (2**shift >> 1) - a.zero_point * first - b.zero_point * second,
            "shift": shift,
        }
        return site.call(self.integer_op, [a.tensor, b.tensor], attrs | output_attributes(site.result))

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, (*WEIGHTS, *OUTPUT_ATTRIBUTES, "y_type"), ("a", "b"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        def kernel(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> WideAddKernel:
            return WideAddKernel(
                shape=shape,
                a_shape=a,
                b_shape=b,
                a_multiplier=node.attrs["a_multiplier"],
                b_multiplier=node.attrs["b_multiplier"],
                offset=node.attrs["offset"],
                shift=node.attrs["shift"],
                output=stored_output(node),
                a_dtype=dtype_of(node.inputs[0]),
                b_dtype=dtype_of(node.inputs[1]),
            )

        emit_elementwise(node, lowering, kernel)


def common_shift(ratios: tuple[float, float], reaches: tuple[int, int]) -> int | None:
    """The largest shift that keeps both multipliers and the sum below their limits."""
    coarser = max(map(abs, ratios))
    reach = 2 * sum(abs(ratio) * reach for ratio, reach in zip(ratios, reaches, strict=True)) + 2
    shifts = range(LARGEST_SHIFT + 1)
    fitting = [one for one in shifts if coarser * 2**one < MULTIPLIER_LIMIT and reach * 2**one < SUM_LIMIT]
    return max(fitting, default=None)
