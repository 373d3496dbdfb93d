"""From float32 to the steps of a minifloat, in standard operators: round(clamp(x / scale, -high, high)), ties to even.

A product with 2**(23 - M) + 1, less what exceeds x in it, leaves M + 1 leading bits of x rounded to nearest (Veltkamp's
splitting: Dekker 1971, "A floating-point technique for extending the available precision", section 5). Below
2**(M + 1) steps lie one apart, and ONNX's Round makes them.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.quantize_float import QuantizeFloat as QuantizeFloatKernel
from bevel.calib.arithmetic.round_float import FloatSteps
from bevel.passes.operators.base import Function, IntegerOperator
from bevel.passes.operators.bodies import constants_of
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.widths import element_type, stored_dtype

FLOAT_BITS = 23

# A NaN becomes the lowest step, because it is not above it.
BODY = f"""
{constants_of(onnx.TensorProto.FLOAT, "splitter", "border", "high")}
  low = Neg (high)
  quotient = Div (x, scale)
  above = Greater (quotient, low)
  raised = Where (above, quotient, low)
  below = Less (raised, high)
  clamped = Where (below, raised, high)
  product = Mul (clamped, splitter)
  excess = Sub (product, clamped)
  leading = Sub (product, excess)
  magnitude = Abs (clamped)
  small = Less (magnitude, border)
  whole = Round (clamped)
  rounded = Where (small, whole, leading)
  y = Cast <to: int = @y_type> (rounded)
"""
ATTRIBUTES = ("splitter", "border", "high", "y_type")
QUANTIZE_FLOAT = Function("QuantizeFloat", ATTRIBUTES, ("x", "scale"), BODY)


class QuantizeFloat(IntegerOperator):
    functions: ClassVar = (QUANTIZE_FLOAT,)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value, steps = lowering.value(node.inputs[0]), steps_of(node)
        kernel = QuantizeFloatKernel(
            size=prod(value.shape),
            scale=float(lowering.constant(node.inputs[1])),
            mantissa=steps.mantissa,
            high=steps.high,
            dtype=stored_dtype(node),
        )
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def quantize_float(name: str, x: gs.Tensor, scale: float, output: gs.Variable, steps: FloatSteps) -> gs.Node:
    """x in units of `scale` as steps in `output`."""
    attrs = {
        "splitter": 2 ** (FLOAT_BITS - steps.mantissa) + 1,
        "border": 2 ** (steps.mantissa + 1),
        "high": steps.high,
        "y_type": element_type(str(np.dtype(output.dtype))),
    }
    size = gs.Constant(f"{name}/scale", np.array(scale, np.float32))
    return QUANTIZE_FLOAT.call(name, [x, size], attrs, output)


def steps_of(node: gs.Node) -> FloatSteps:
    return FloatSteps(int(node.attrs["border"]).bit_length() - 2, int(node.attrs["high"]))
