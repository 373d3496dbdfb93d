"""Sums that may lie exactly between two integers of the result, rounded as QuantizeLinear rounds: ties to even.

Requantization rounds half up (`bevel.calib.arithmetic.requantize`). Where scales are arbitrary reals, no sum ever lies
on a half. In models of few bits with scales that are powers of two, every second average of two does, and half up
answers otherwise than the model that was imported. There, the operator makes its exact sums as int32, and

    y = clamp(zy + even(sum * ratio))

is a step of its own. A ratio such as 1/12 is no exact multiplier: a product then misses a half by at most |sum| units,
which count as on it. Price: int32 sums in memory, and one pass over them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.round_even import RoundEven as RoundEvenKernel
from bevel.calib.arithmetic.requantize import Output, fixed_point
from bevel.passes.operators.base import Activation, Function, IntegerOperator, Reason, Site, Weight
from bevel.passes.operators.bodies import DIVISOR, FLOOR, OUTPUT_ATTRIBUTES, STORE, constants
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.widths import output_attributes, stored_output

LARGEST_SUM = 2**28
NEAR = 1e-9  # of a quotient: float64 scales of exact halves differ by less, others by more
TRIED = 2**16  # sums that are looked at; ratios that put none of them on a half put none there

# `x64` int64 -> `shifted` int64: bevel.calib.arithmetic.requantize.even_shift_right of its product
ROUNDED = f"""
{constants("multiplier", "shift", "tolerance")}
  product = Mul (x64, multiplier)
{DIVISOR}
  two = Constant <value_int = 2> ()
  half = Div (divisor, two)
  raised_half = Add (product, half)
  sum = Add (raised_half, tolerance)
{FLOOR.replace("shifted", "rounded")}
  whole = Mul (rounded, divisor)
  rest = Sub (sum, whole)
  twice = Mul (tolerance, two)
  on_half = LessOrEqual (rest, twice)
  one = Cast <to = 7> (on_half)
  odd = Mod (rounded, two)
  down = Mul (one, odd)
  shifted = Sub (rounded, down)
"""
BODY = f"""
  x64 = Cast <to = 7> (x)
{ROUNDED}
{STORE}
"""
ATTRIBUTES = ("multiplier", "shift", "tolerance", "reach")
ROUND_EVEN = Function("RoundEven", (*ATTRIBUTES, *OUTPUT_ATTRIBUTES), ("x",), BODY)


class RoundEven(IntegerOperator):
    functions: ClassVar = (ROUND_EVEN,)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        multiplier, shift, tolerance, reach = (int(node.attrs[name]) for name in ATTRIBUTES)
        kernel = RoundEvenKernel(prod(value.shape), multiplier, shift, tolerance, stored_output(node), reach)
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def ties_reachable(ratio: float, reach: int) -> bool:
    """Whether an integer of up to `reach`, times `ratio`, may lie exactly between two integers."""
    quotients = np.arange(1, min(reach, TRIED) + 1, dtype=np.float64) * ratio
    return bool((np.abs(quotients - np.floor(quotients) - 0.5) <= NEAR * quotients).any())


def by_exact_sums(
    site: Site, scale: float, reach: int, integerize: Callable[[Site], list[gs.Node] | Reason]
) -> list[gs.Node] | Reason | None:
    """What `integerize` makes of the site of its sums, and their rounding; None where none of them lies on a half."""
    sums = exact_sums(site, scale, reach)
    if sums is None:
        return None
    nodes = integerize(sums)
    return nodes if isinstance(nodes, Reason) else [*nodes, round_even(site, sums, reach)]


def exact_sums(site: Site, scale: float, reach: int) -> Site | None:
    """The site that makes sums of `scale`, within +-`reach`, as int32; None where they do not fit or need no ties, or
    have operands without a scale of the model's."""
    if site.wide or not all(isinstance(one, Activation | Weight) for one in site.inputs):
        return None
    if reach >= LARGEST_SUM or not ties_reachable(scale / site.scale, reach):
        return None
    sums = gs.Variable(f"{site.output.name}/sums", np.int32, list(site.output.shape))
    return replace(site, output=sums, scale=scale, result=Output(0, -LARGEST_SUM, LARGEST_SUM, "int32"))


def round_even(site: Site, sums: Site, reach: int) -> gs.Node:
    """The result of `site` from its exact sums."""
    multiplier, shift = fixed_point(sums.scale / site.scale)
    attrs = dict(zip(ATTRIBUTES, (multiplier, shift, reach, reach), strict=True))
    attrs |= output_attributes(site.result)
    return ROUND_EVEN.call(f"{site.name}/round_even", [sums.output], attrs, site.output)
