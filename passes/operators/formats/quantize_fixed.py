"""Floats to integers of any range: QuantizeLinear without a zero point, to int32 and with bounds of its own.

    y = round_half_even(clamp(x / scale, low, high)),    float32, bounds within +-2**22

ONNX's QuantizeLinear ends at int16. Sums that are rounded to a format of uneven steps need more (`round_mx`), and so do
the model's inputs.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.quantize_fixed import QuantizeFixed as QuantizeFixedKernel
from bevel.passes.operators.base import Function, IntegerOperator
from bevel.passes.operators.bodies import constants
from bevel.passes.operators.lowering import Lowering

BODY = f"""
{constants("low", "high")}
  least = Cast <to = 1> (low)
  most = Cast <to = 1> (high)
  quotient = Div (x, scale)
  clamped = Clip (quotient, least, most)
  rounded = Round (clamped)
  y = Cast <to = 6> (rounded)
"""
QUANTIZE_FIXED = Function("QuantizeFixed", ("low", "high"), ("x", "scale"), BODY)


class QuantizeFixed(IntegerOperator):
    functions: ClassVar = (QUANTIZE_FIXED,)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        kernel = QuantizeFixedKernel(
            size=prod(value.shape),
            scale=float(lowering.constant(node.inputs[1])),
            low=int(node.attrs["low"]),
            high=int(node.attrs["high"]),
        )
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def quantize_fixed(name: str, x: gs.Tensor, y: gs.Variable, scale: float, limit: int) -> gs.Node:
    """`y`, int32 up to +-limit, of float `x`."""
    constant = gs.Constant(f"{name}/scale", np.array(scale, np.float32))
    return QUANTIZE_FIXED.call(name, [x, constant], {"low": -limit, "high": limit}, y)
