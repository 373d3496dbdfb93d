"""ReduceL2: the integer root of a sum of squares (`bevel.calib.arithmetic.normalize.root`), whose scale is x's,
rescaled once.

y = clamp(zy + ((r * m + half) >> (n + s))),    m / 2**n ~ sx / sy
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.reduce_l2 import ReduceL2 as ReduceL2Kernel
from bevel.calib.arithmetic.normalize import SUM_LIMIT
from bevel.calib.arithmetic.requantize import MAX_SHIFT, fixed_point
from bevel.passes.operators.base import Activation, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, POWERS, STORE, constants, floored
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.norms.root_body import ROOT
from bevel.passes.operators.sums.reduced import laid, matched_reduction, reduced_axes
from bevel.passes.operators.widths import dtype_of, output_attributes, stored_output

NUMBERS = ("keepdims", "x_zero_point", "multiplier", "shift")
BODY = f"""
{constants("x_zero_point", "multiplier", "shift")}
  one = Constant <value_int = 1> ()
  powers = Constant <value = int64[{POWERS.count(",") + 1}] {{{POWERS}}}> ()
  most = Constant <value_int = {MAX_SHIFT}> ()
  x64 = Cast <to = 7> (x)
  steps = Sub (x64, x_zero_point)
  squares = Mul (steps, steps)
  positive = ReduceSum <keepdims: int = @keepdims> (squares, axes)
{ROOT}
  scaled = Mul (root0, multiplier)
  wanted = Add (places, shift)
  too_far = Greater (wanted, most)
  down = Where (too_far, most, wanted)
  half_place = Sub (down, one)
  half = Gather (powers, half_place)
  sum = Add (scaled, half)
{floored("sum", "down", "shifted", "result")}
{STORE}
"""
REDUCE_L2 = Function("ReduceL2", (*NUMBERS, *OUTPUT_ATTRIBUTES), ("x", "axes"), BODY)


class ReduceL2(Operator):
    float_ops: ClassVar = frozenset({"ReduceL2"})
    limits: ClassVar = "any axes, constant"
    functions: ClassVar = (REDUCE_L2,)
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return matched_reduction(node) if node.op in self.float_ops else None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, axes = site.inputs[0], reduced_axes(site.node)
        if not isinstance(x, Activation) or axes is None:
            return Reason("its input is not quantized")
        count = int(np.prod([x.tensor.shape[axis] for axis in axes]))
        if count * x.reach**2 >= SUM_LIMIT**2:
            return Reason(f"the squares of its {count} elements do not fit int64")
        multiplier, shift = fixed_point(x.scale / site.scale)
        attrs = {
            "keepdims": int(site.node.attrs.get("keepdims", 1)),
            "x_zero_point": x.zero_point,
            "multiplier": multiplier,
            "shift": shift,
        }
        inputs = [x.tensor, site.constant("axes", np.array(axes, np.int64))]
        return site.call(REDUCE_L2, inputs, attrs | output_attributes(site.result))

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        axes = {int(axis) for axis in lowering.constant(node.inputs[1])}
        x = laid(node, axes, bool(node.attrs["keepdims"]), lowering)
        kernel = ReduceL2Kernel(
            outer=x.outer,
            reduced=x.reduced,
            inner=x.inner,
            x_zero_point=node.attrs["x_zero_point"],
            multiplier=node.attrs["multiplier"],
            shift=node.attrs["shift"],
            output=stored_output(node),
            x_dtype=dtype_of(node.inputs[0]),
        )
        lowering.emit(node, kernel, [x.buffer], (), node.outputs[0], x.order)
