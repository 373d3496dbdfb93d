"""Comparisons: both tensors on one scale, exactly, and their difference compared with 0. The result is truth values.

    y = a * A - b * B + C < 0,    A = round(2**n * sa / s),  B = round(2**n * sb / s),  C = zb * B - za * A

s is the larger scale. Between tensors of one quantization that is the comparison of their integers. Price: where scales
differ, what lies within 2**-n of each other may count as equal or not.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.compare import RELATIONS
from bevel.backends.program.ops.compare import Compare as CompareKernel
from bevel.passes.operators.base import Activation, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import constants
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.elementwise import dtypes, emit_elementwise, taken, wide_operand

SUM_BITS, MULTIPLIER_BITS = 60, 30
NUMBERS = ("a_multiplier", "b_multiplier", "offset")


def comparison(relation: str) -> Function:
    body = f"""
{constants(*NUMBERS)}
  zero = Constant <value_int = 0> ()
  a64 = Cast <to = 7> (a)
  b64 = Cast <to = 7> (b)
  a_share = Mul (a64, a_multiplier)
  b_share = Mul (b64, b_multiplier)
  apart = Sub (a_share, b_share)
  difference = Add (apart, offset)
  y = {relation} (difference, zero)
"""
    return Function(relation, NUMBERS, ("a", "b"), body)


COMPARISONS = {name: comparison(name) for name in RELATIONS}


class Compare(Operator):
    float_ops: ClassVar = frozenset(COMPARISONS)
    limits: ClassVar = "the result is bool"
    functions: ClassVar = tuple(COMPARISONS.values())
    wide: ClassVar = True
    ends: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return Match(node, tuple(node.inputs)) if node.op in self.float_ops else None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        a, b = (wide_operand(site, index) for index in (0, 1))
        if isinstance(a, Reason):
            return a
        if isinstance(b, Reason):
            return b
        if not any(isinstance(one, Activation) for one in site.inputs):
            return Reason("both of its inputs are constant")
        unit, bits = max(a.scale, b.scale), min(MULTIPLIER_BITS, SUM_BITS - max(a.reach, b.reach).bit_length())
        first, second = (round(one.scale / unit * 2**bits) for one in (a, b))
        numbers = (first, second, b.zero_point * second - a.zero_point * first)
        made = COMPARISONS[site.node.op]
        return site.call(made, [a.tensor, b.tensor], dict(zip(NUMBERS, numbers, strict=True)))

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        given = taken(node, NUMBERS) | dtypes(*node.inputs)
        emit_elementwise(node, lowering, partial(CompareKernel, node.op, **given))
