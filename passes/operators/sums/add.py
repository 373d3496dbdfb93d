"""Add and Sub of two tensors on different scales, broadcast as ONNX does: one weighted sum, one rounding.

    y = clamp(zy + ((a * A + b * B + C) >> n)),    A = round(2**n * sa / sy),  B = +-round(2**n * sb / sy)

C = 2**(n - 1) - za * A - zb * B holds the rounding half and the zero points. n is the largest shift for which the sum
of any two int8 operands fits int32, so no wide product is needed.
"""

from __future__ import annotations

from typing import ClassVar

import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.add import Add as AddKernel
from bevel.calib.arithmetic.requantize import Output
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site, Weight
from bevel.passes.operators.bodies import DIVISOR, FLOOR, OUTPUT_ATTRIBUTES, STORE, constants, function
from bevel.passes.operators.formats.round_even import exact_sums, round_even
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.elementwise import emit_elementwise, operand
from bevel.passes.operators.sums.wide_add import WideAdd

SUM_LIMIT = 2**30
LARGEST_SHIFT = 30
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
{STORE}
"""


class Add(Operator):
    float_ops: ClassVar = frozenset({"Add", "Sub"})
    integer_op: ClassVar = "Add"
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return Match(node, tuple(node.inputs[:2])) if node.op in self.float_ops else None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        if site.wide:
            return WideAdd().integerize(site)
        a, b = (operand(site, index) for index in (0, 1))
        if isinstance(a, Reason):
            return a
        if isinstance(b, Reason):
            return b
        finer = min(a.scale, b.scale)
        steps = round(max(a.scale, b.scale) / finer)  # of the finer operand in one of the coarser
        reach = a.reach + b.reach if steps == 1 else steps * max(a.reach, b.reach) * 2
        stored = all(isinstance(one, Activation | Weight) for one in site.inputs)
        exact = stored and steps * finer == max(a.scale, b.scale)
        sums = exact_sums(site, finer, reach) if exact else None
        if sums is not None:
            nodes = WideAdd().integerize(sums)
            return nodes if isinstance(nodes, Reason) else [*nodes, round_even(site, sums, reach)]
        sign = -1 if site.node.op == "Sub" else 1
        ratios = (a.scale / site.scale, sign * b.scale / site.scale)
        shift = common_shift(ratios)
        if shift is None:
            return Reason(f"its operands are {max(map(abs, ratios)):.3g} times coarser than its result")
        first, second = (round(ratio * 2**shift) for ratio in ratios)
        half = 2 ** (shift - 1) if shift else 0
        attrs = {
            "a_multiplier": first,
            "b_multiplier": second,
            "offset": half - a.zero_point * first - b.zero_point * second,
            "shift": shift,
            "zero_point": site.result.zero_point,
            "low": site.result.low,
            "high": site.result.high,
        }
        return site.call(self.integer_op, [a.tensor, b.tensor], attrs)

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, (*WEIGHTS, *OUTPUT_ATTRIBUTES), ("a", "b"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        def kernel(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> AddKernel:
            return AddKernel(
                shape=shape,
                a_shape=a,
                b_shape=b,
                a_multiplier=node.attrs["a_multiplier"],
                b_multiplier=node.attrs["b_multiplier"],
                offset=node.attrs["offset"],
                shift=node.attrs["shift"],
                output=Output(node.attrs["zero_point"], node.attrs["low"], node.attrs["high"]),
            )

        emit_elementwise(node, lowering, kernel)


def common_shift(ratios: tuple[float, float]) -> int | None:
    """The largest shift at which 255 steps of each operand, with the rounding half, stay below `SUM_LIMIT`."""
    reach = 255 * (abs(ratios[0]) + abs(ratios[1])) + 257
    fitting = [shift for shift in range(LARGEST_SHIFT + 1) if reach * 2**shift < SUM_LIMIT]
    return max(fitting, default=None)
