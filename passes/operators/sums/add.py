"""Add and Sub of two tensors on different scales, broadcast as ONNX does: one weighted sum, one rounding.

    y = clamp(zy + ((a * A + b * B + C) >> n)),    A = round(2**n * sa / sy),  B = +-round(2**n * sb / sy)

C = 2**(n - 1) - za * A - zb * B holds the rounding half and the zero points. n is the largest shift for which the sum
of any two operands fits: int32 where all is int8, so that no wide product is needed, else int64.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.add import Add as AddKernel
from bevel.passes.operators.base import Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import DIVISOR, FLOOR, OUTPUT_ATTRIBUTES, STORE, constants
from bevel.passes.operators.formats.round_even import by_exact_sums
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.elementwise import apart, common_shift, dtypes, emit_elementwise, operands, taken
from bevel.passes.operators.widths import output_attributes, stored_output

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
ADD = Function("Add", (*WEIGHTS, *OUTPUT_ATTRIBUTES), ("a", "b"), BODY)


class Add(Operator):
    float_ops: ClassVar = frozenset({"Add", "Sub"})
    functions: ClassVar = (ADD,)
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return Match(node, tuple(node.inputs[:2])) if node.op in self.float_ops else None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        found = operands(site)
        if isinstance(found, Reason):
            return found
        a, b = found
        finer = min(a.scale, b.scale)
        steps = round(max(a.scale, b.scale) / finer)  # of the finer operand in one of the coarser
        reach = a.reach + b.reach if steps == 1 else steps * max(a.reach, b.reach) * 2
        whole = steps * finer == max(a.scale, b.scale)
        exact = by_exact_sums(site, finer, reach, self.integerize) if whole else None
        if exact is not None:
            return exact
        sign = -1 if site.node.op == "Sub" else 1
        ratios = (a.scale / site.scale, sign * b.scale / site.scale)
        shift = common_shift(site, ratios, (a.reach, b.reach))
        if shift is None:
            return apart(ratios)
        first, second = (round(ratio * 2**shift) for ratio in ratios)
        attrs = {
            "a_multiplier": first,
            "b_multiplier": second,
            "offset": (2**shift >> 1) - a.zero_point * first - b.zero_point * second,
            "shift": shift,
        }
        return site.call(ADD, [a.tensor, b.tensor], attrs | output_attributes(site.result))

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        given = taken(node, WEIGHTS) | dtypes(*node.inputs)
        emit_elementwise(node, lowering, partial(AddKernel, **given, output=stored_output(node)))
