"""PRelu with slopes that differ between channels; one slope for all is a table.

    y = clamp(zy + (((x - zx) * m + 2**(n - 1)) >> n)),    m = round(2**n * sx / sy) if x >= zx, else that times a slope

n is the largest shift for which the product fits int32, or int64 where integers are wider than int8. Slopes stay as
exact as m: they are not quantized before.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.prelu import PRelu as PReluKernel
from bevel.passes.operators.base import Activation, Function, Match, Operator, Reason, Site, Weight
from bevel.passes.operators.bodies import DIVISOR, FLOOR, OUTPUT_ATTRIBUTES, STORE, constants
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.elementwise import common_shift, emit_elementwise, taken
from bevel.passes.operators.widths import dtype_of, output_attributes, stored_output

FACTORS = ("x_zero_point", "positive", "half", "shift")
BODY = f"""
{constants(*FACTORS)}
  x64 = Cast <to = 7> (x)
  steps = Sub (x64, x_zero_point)
  slope64 = Cast <to = 7> (slope)
  zero = Constant <value_int = 0> ()
  is_negative = Less (steps, zero)
  factor = Where (is_negative, slope64, positive)
  scaled = Mul (steps, factor)
  sum = Add (scaled, half)
{DIVISOR}
{FLOOR}
{STORE}
"""
PRELU = Function("PRelu", (*FACTORS, *OUTPUT_ATTRIBUTES), ("x", "slope"), BODY)


class PRelu(Operator):
    float_ops: ClassVar = frozenset({"PRelu"})
    limits: ClassVar = "constant slopes"
    functions: ClassVar = (PRELU,)
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "PRelu":
            return None
        return Match(node, tuple(node.inputs[: 1 if isinstance(node.inputs[1], gs.Constant) else 2]))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, *given = site.inputs
        slope = given[0] if given else np.asarray(site.node.inputs[1].values)
        if not isinstance(x, Activation) or isinstance(slope, Activation):
            return Reason("its slopes are computed")
        slopes = (slope.reals if isinstance(slope, Weight) else slope).astype(np.float64)
        ratio = x.scale / site.scale
        ratios = (ratio, ratio * float(np.abs(slopes).max(initial=0.0)))
        shift = common_shift(site, ratios, (x.reach, x.reach))
        if shift is None:
            return Reason(f"its input is {ratio:.3g} times coarser than its result")
        attrs = {
            "x_zero_point": x.zero_point,
            "positive": round(ratio * 2**shift),
            "half": 2**shift // 2,
            "shift": shift,
        } | output_attributes(site.result)
        factors = np.rint(slopes * ratio * 2**shift).astype(np.int32)
        return site.call(PRELU, [x.tensor, site.constant("slope", factors)], attrs)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        given = taken(node, ("x_zero_point", "positive", "shift")) | {"x_dtype": dtype_of(node.inputs[0])}
        emit_elementwise(node, lowering, partial(PReluKernel, **given, output=stored_output(node)))
