"""Max and Min of two tensors on different scales, broadcast as ONNX does: both weighted as in Add, compared, rounded.

    y = clamp(zy + (max(a * A + Ca, b * B + Cb) >> n)),    A = round(2**n * sa / sy),  Ca = 2**(n - 1) - za * A

A shift keeps order: this is the larger of both as they would be rounded alone.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.extreme import Extreme as ExtremeKernel
from bevel.passes.operators.base import Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import DIVISOR, FLOOR, OUTPUT_ATTRIBUTES, STORE
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.elementwise import (
    WEIGHTED_APART,
    WEIGHTS,
    dtypes,
    emit_elementwise,
    taken,
    weighted_apart,
)
from bevel.passes.operators.widths import output_attributes, stored_output


def extreme(name: str, comparison: str) -> Function:
    body = f"""
{WEIGHTED_APART}
  a_wins = {comparison} (a_sum, b_sum)
  sum = Where (a_wins, a_sum, b_sum)
{DIVISOR}
{FLOOR}
{STORE}
"""
    return Function(name, (*WEIGHTS, *OUTPUT_ATTRIBUTES), ("a", "b"), body)


MAX, MIN = extreme("Max", "Greater"), extreme("Min", "Less")


class Extreme(Operator):
    float_ops: ClassVar = frozenset({"Max", "Min"})
    functions: ClassVar = (MAX, MIN)
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op not in self.float_ops:
            return None
        return Match(node, tuple(node.inputs)) if len(node.inputs) == 2 else Reason("it has not two inputs")

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        found = weighted_apart(site)
        if isinstance(found, Reason):
            return found
        operands, weights = found
        made = MAX if site.node.op == "Max" else MIN
        return site.call(made, operands, weights | output_attributes(site.result))

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        given = taken(node, WEIGHTS) | dtypes(*node.inputs) | {"largest": node.op == MAX.name}
        emit_elementwise(node, lowering, partial(ExtremeKernel, **given, output=stored_output(node)))
