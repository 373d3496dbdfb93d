"""Comparisons: both tensors on one scale, exactly, and their difference compared with 0. The result is truth values.

    y = a * A - b * B + C < 0,    A = round(2**n * sa / s),  B = round(2**n * sb / s),  C = zb * B - za * A

s is the larger scale. Between tensors of one quantization that is the comparison of their integers. Price: where scales
differ, what lies within 2**-n of each other may count as equal or not.
"""

from __future__ import annotations

from typing import ClassVar

import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.compare import RELATIONS
from bevel.backends.program.ops.compare import Compare as CompareKernel
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import constants, function
from bevel.passes.operators.formats.wide_values import dtype_of, operand
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.elementwise import emit_elementwise

SUM_BITS, MULTIPLIER_BITS = 60, 30
NUMBERS = ("a_multiplier", "b_multiplier", "offset")


def body(relation: str) -> str:
    return f"""
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


class Greater(Operator):
    float_ops: ClassVar = frozenset({"Greater"})
    limits: ClassVar = "the result is bool"
    integer_op: ClassVar = "Greater"
    wide: ClassVar = True
    ends: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return Match(node, tuple(node.inputs)) if node.op in self.float_ops else None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        a, b = (operand(site, index) for index in (0, 1))
        if isinstance(a, Reason):
            return a
        if isinstance(b, Reason):
            return b
        if not any(isinstance(one, Activation) for one in site.inputs):
            return Reason("both of its inputs are constant")
        unit, bits = max(a.scale, b.scale), min(MULTIPLIER_BITS, SUM_BITS - max(a.reach, b.reach).bit_length())
        first, second = (round(one.scale / unit * 2**bits) for one in (a, b))
        attrs = {
            "a_multiplier": first,
            "b_multiplier": second,
            "offset": b.zero_point * second - a.zero_point * first,
        }
        return site.call(self.integer_op, [a.tensor, b.tensor], attrs)

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, NUMBERS, ("a", "b"), body(self.integer_op), opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        def kernel(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> CompareKernel:
            return CompareKernel(
                relation=self.integer_op,
                shape=shape,
                a_shape=a,
                b_shape=b,
                a_multiplier=node.attrs["a_multiplier"],
                b_multiplier=node.attrs["b_multiplier"],
                offset=node.attrs["offset"],
                a_dtype=dtype_of(node.inputs[0]),
                b_dtype=dtype_of(node.inputs[1]),
            )

        emit_elementwise(node, lowering, kernel)


class GreaterOrEqual(Greater):
    float_ops: ClassVar = frozenset({"GreaterOrEqual"})
    integer_op: ClassVar = "GreaterOrEqual"


class Less(Greater):
    float_ops: ClassVar = frozenset({"Less"})
    integer_op: ClassVar = "Less"


class LessOrEqual(Greater):
    float_ops: ClassVar = frozenset({"LessOrEqual"})
    integer_op: ClassVar = "LessOrEqual"


class Equal(Greater):
    float_ops: ClassVar = frozenset({"Equal"})
    integer_op: ClassVar = "Equal"


COMPARISONS: tuple[Operator, ...] = (Greater(), GreaterOrEqual(), Less(), LessOrEqual(), Equal())
assert {one.integer_op for one in COMPARISONS} == set(RELATIONS)
