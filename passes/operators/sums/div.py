"""Div by a tensor, broadcast as ONNX does. A divisor of 0 counts as one step: the result saturates, or nearly so.

Of int8: a product with a reciprocal that a table holds for each of 256 divisors.

    y = requantize((a - za) * r[b]),    r[q] = round(2**22 / (q - zb)),    ratio = sa / (sb * sy * 2**22)

A reciprocal is at most 2**-15 of itself off, an eight-thousandth of a step where the quotient is below 128 steps; then
there is one rounding. Of wider integers: a division, rounded once, half away from 0.

    y = clamp(zy +- (2 * |a - za| * m + d) / (2 * d)),    d = |b - zb| * 2**n,  m = round(2**n * sa / (sb * sy))

n leaves m 31 bits where d allows it.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.div import Div as DivKernel
from bevel.backends.program.ops.div import WideDiv as WideDivKernel
from bevel.calib.arithmetic.requantize import MULTIPLIER_BITS, fixed_point
from bevel.passes.operators.base import Activation, Function, Operator, Reason, Site
from bevel.passes.operators.bodies import DIVISOR, OUTPUT_ATTRIBUTES, REQUANTIZE, STORE, constants
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.elementwise import dtypes, emit_elementwise, operands, taken
from bevel.passes.operators.widths import output_attributes, stored_output

RECIPROCAL_BITS = 22  # 255 * 2**22 stays below 2**30
FACTORS = ("a_zero_point", "multiplier", "shift")
# Gather counts negative indices from the end, so the stored table starts with q = 0 and ends with q = -1.
BODY = f"""
{constants(*FACTORS)}
  a64 = Cast <to = 7> (a)
  a_steps = Sub (a64, a_zero_point)
  index = Cast <to = 6> (b)
  reciprocal32 = Gather (reciprocals, index)
  reciprocal = Cast <to = 7> (reciprocal32)
  accumulator = Mul (a_steps, reciprocal)
{REQUANTIZE}
"""
DIV = Function("Div", (*FACTORS, *OUTPUT_ATTRIBUTES), ("a", "b", "reciprocals"), BODY)

DIVISOR_BITS = 60
WIDE_FACTORS = ("a_zero_point", "b_zero_point", "multiplier", "shift")
WIDE_BODY = f"""
{constants(*WIDE_FACTORS)}
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  two = Constant <value_int = 2> ()
  a64 = Cast <to = 7> (a)
  b64 = Cast <to = 7> (b)
  a_steps = Sub (a64, a_zero_point)
  b_steps = Sub (b64, b_zero_point)
  a_is_negative = Less (a_steps, zero)
  b_is_negative = Less (b_steps, zero)
  a_opposite = Sub (zero, a_steps)
  b_opposite = Sub (zero, b_steps)
  a_size = Where (a_is_negative, a_opposite, a_steps)
  b_size = Where (b_is_negative, b_opposite, b_steps)
  b_is_zero = Equal (b_size, zero)
  b_counted = Where (b_is_zero, one, b_size)
{DIVISOR}
  divided_by = Mul (b_counted, divisor)
  product = Mul (a_size, multiplier)
  twice = Mul (product, two)
  sum = Add (twice, divided_by)
  divided_by_twice = Mul (divided_by, two)
  quotient = Div (sum, divided_by_twice)
  opposite = Sub (zero, quotient)
  is_negative = Xor (a_is_negative, b_is_negative)
  shifted = Where (is_negative, opposite, quotient)
{STORE}
"""
WIDE_DIV = Function("WideDiv", (*WIDE_FACTORS, *OUTPUT_ATTRIBUTES), ("a", "b"), WIDE_BODY)


class Div(Operator):
    float_ops: ClassVar = frozenset({"Div"})
    functions: ClassVar = (DIV, WIDE_DIV)
    clamps: ClassVar = True
    wide: ClassVar = True

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        found = operands(site)
        if isinstance(found, Reason):
            return found
        return divided(site, *found) if site.wide else multiplied(site, *found)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        output = stored_output(node)
        if node.op == WIDE_DIV.name:
            make = partial(WideDivKernel, **taken(node, WIDE_FACTORS), output=output, **dtypes(*node.inputs))
            emit_elementwise(node, lowering, make)
        else:
            table = np.roll(lowering.constant(node.inputs[2]), 128)
            emit_elementwise(node, lowering, partial(DivKernel, **taken(node, FACTORS), output=output), [table])


def multiplied(site: Site, a: Activation, b: Activation) -> list[gs.Node]:
    """a times the reciprocal of b."""
    factors = (a.zero_point, *fixed_point(a.scale / (b.scale * site.scale * 2**RECIPROCAL_BITS)))
    steps = np.arange(-128, 128) - b.zero_point
    reciprocals = np.rint(2.0**RECIPROCAL_BITS / np.where(steps == 0, 1, steps)).astype(np.int32)
    inputs = [a.tensor, b.tensor, site.constant("reciprocals", np.roll(reciprocals, -128))]
    return site.call(DIV, inputs, dict(zip(FACTORS, factors, strict=True)) | output_attributes(site.result))


def divided(site: Site, a: Activation, b: Activation) -> list[gs.Node] | Reason:
    """a over b, in int64."""
    ratio = a.scale / (b.scale * site.scale)
    shift = min(MULTIPLIER_BITS - int(np.frexp(ratio)[1]), DIVISOR_BITS - int(b.reach).bit_length())
    if shift < 0:
        return Reason(f"a step of its dividend over one of its divisor is {ratio:.3g} steps of its result")
    multiplier = min(round(ratio * 2**shift), 2**MULTIPLIER_BITS - 1)
    factors = dict(zip(WIDE_FACTORS, (a.zero_point, b.zero_point, multiplier, shift), strict=True))
    return site.call(WIDE_DIV, [a.tensor, b.tensor], factors | output_attributes(site.result))
