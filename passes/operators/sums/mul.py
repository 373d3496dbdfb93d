"""Mul of two tensors, broadcast as ONNX does: y = requantize((a - za) * (b - zb)).

The product of wider integers than int8 is int64, and the multiplier has as many bits as the largest product leaves of
61: 29 for two int16.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.mul import Mul as MulKernel
from bevel.calib.arithmetic.requantize import fixed_point
from bevel.passes.operators.base import Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE, constants
from bevel.passes.operators.formats.round_even import by_exact_sums
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.elementwise import dtypes, emit_elementwise, operands, taken
from bevel.passes.operators.widths import output_attributes, rescaling, stored_output

NUMBERS = ("a_zero_point", "b_zero_point", "multiplier", "shift")
BODY = f"""
{constants(*NUMBERS)}
  a64 = Cast <to = 7> (a)
  b64 = Cast <to = 7> (b)
  a_steps = Sub (a64, a_zero_point)
  b_steps = Sub (b64, b_zero_point)
  accumulator = Mul (a_steps, b_steps)
{REQUANTIZE}
"""
MUL = Function("Mul", (*NUMBERS, *OUTPUT_ATTRIBUTES), ("a", "b"), BODY)


class Mul(Operator):
    float_ops: ClassVar = frozenset({"Mul"})
    functions: ClassVar = (MUL,)
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return Match(node, tuple(node.inputs[:2])) if node.op == "Mul" else None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        found = operands(site)
        if isinstance(found, Reason):
            return found
        a, b = found
        reach, scale = a.reach * b.reach, a.scale * b.scale
        exact = by_exact_sums(site, scale, reach, self.integerize)
        if exact is not None:
            return exact
        ratio = rescaling(np.array(scale / site.scale), reach) if site.wide else fixed_point(scale / site.scale)
        if isinstance(ratio, Reason):
            return ratio
        numbers = (a.zero_point, b.zero_point, *map(int, ratio))
        attrs = dict(zip(NUMBERS, numbers, strict=True)) | output_attributes(site.result)
        return site.call(MUL, [a.tensor, b.tensor], attrs)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        given = taken(node, NUMBERS) | dtypes(*node.inputs)
        emit_elementwise(node, lowering, partial(MulKernel, **given, output=stored_output(node)))
