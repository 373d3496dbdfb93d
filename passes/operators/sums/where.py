"""Where: of two tensors on different scales the one that a truth value says, weighted as in Add, and one rounding.

    y = clamp(zy + ((c ? a * A + Ca : b * B + Cb) >> n)),    A = round(2**n * sa / sy),  Ca = 2**(n - 1) - za * A

The truth values are constant, come in, or are what a comparison of integers makes.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.where import Where as WhereKernel
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

BODY = f"""
{WEIGHTED_APART}
  sum = Where (c, a_sum, b_sum)
{DIVISOR}
{FLOOR}
{STORE}
"""
WHERE = Function("Where", (*WEIGHTS, *OUTPUT_ATTRIBUTES), ("c", "a", "b"), BODY)


class Where(Operator):
    float_ops: ClassVar = frozenset({"Where"})
    functions: ClassVar = (WHERE,)
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "Where" or node.outputs[0].dtype != node.inputs[1].dtype:
            return None
        return Match(node, tuple(node.inputs[1:]), (node.inputs[0],))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        found = weighted_apart(site)
        if isinstance(found, Reason):
            return found
        operands, weights = found
        return site.call(WHERE, [site.others[0], *operands], weights | output_attributes(site.result))

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        given = taken(node, WEIGHTS) | dtypes(*node.inputs[1:])
        emit_elementwise(node, lowering, partial(WhereKernel, **given, output=stored_output(node)), operands=3)
