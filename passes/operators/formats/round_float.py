"""Integers with bits behind the point to the steps of a minifloat: `bevel.calib.arithmetic.round_float`, in standard
operators.

What a magnitude loses to rounding is found by halving: whether it reaches 2**16, then 2**8, 2**4, ... times the first
magnitude that loses more than the bits behind the point.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.round_float import RoundFloat as RoundFloatKernel
from bevel.calib.arithmetic.round_float import FloatSteps
from bevel.passes.operators.base import Array, Function, IntegerOperator
from bevel.passes.operators.bodies import constants_of
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.widths import dtype_of, element_type, stored_dtype

HALVINGS = (16, 8, 4, 2, 1)


def halving(bits: int) -> str:
    """`above` and `grown` after one comparison more than those of twice the bits."""
    above, grown = (f"above{2 * bits}", f"grown{2 * bits}") if bits < HALVINGS[0] else ("above", "unit")
    return f"""
  power{bits} = Constant <value = int32 {{{2**bits}}}> ()
  reaches{bits} = GreaterOrEqual ({above}, power{bits})
  factor{bits} = Where (reaches{bits}, power{bits}, unit)
  above{bits} = Div ({above}, factor{bits})
  grown{bits} = Mul ({grown}, factor{bits})
"""


BODY = f"""
{constants_of(onnx.TensorProto.INT32, "point", "border", "high")}
  unit = Constant <value = int32 {{1}}> ()
  two = Constant <value = int32 {{2}}> ()
  x32 = Cast <to = 6> (x)
  positive = Abs (x32)
  limit = Mul (high, point)
  magnitude = Min (positive, limit)
  above = Div (magnitude, border)
{"".join(map(halving, HALVINGS))}
  last = Add (above1, unit)
  distance = Mul (grown1, last)
  divisor = Mul (distance, point)
  whole = Div (magnitude, divisor)
  even = Div (whole, two)
  doubled = Mul (even, two)
  odd = Sub (whole, doubled)
  half = Div (divisor, two)
  below_half = Sub (half, unit)
  nudge = Add (below_half, odd)
  raised = Add (magnitude, nudge)
  kept = Div (raised, divisor)
  rounded = Mul (kept, distance)
  sign = Sign (x32)
  signed = Mul (rounded, sign)
  y = Cast <to: int = @y_type> (signed)
"""
ROUND_FLOAT = Function("RoundFloat", ("point", "border", "high", "y_type"), ("x",), BODY)


class RoundFloat(IntegerOperator):
    functions: ClassVar = (ROUND_FLOAT,)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        fraction = int(node.attrs["point"]).bit_length() - 1
        kernel = RoundFloatKernel(
            size=prod(value.shape),
            mantissa=int(node.attrs["border"]).bit_length() - 2 - fraction,
            high=int(node.attrs["high"]),
            fraction=fraction,
            dtype=stored_dtype(node),
            x_dtype=dtype_of(node.inputs[0]),
        )
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def rounded_constants(node: gs.Node, x: Array) -> Array:
    """What the node makes of integers: int64, the shape of `x`."""
    fraction = int(node.attrs["point"]).bit_length() - 1
    mantissa = int(node.attrs["border"]).bit_length() - 2 - fraction
    return FloatSteps(mantissa, int(node.attrs["high"])).round_fine(x, fraction)


def round_float(name: str, x: gs.Variable, output: gs.Variable, steps: FloatSteps) -> gs.Node:
    """x, integers with `steps.fraction` bits behind the point and within `steps.high`, as steps in `output`."""
    attrs = {
        "point": 2**steps.fraction,
        "border": 2 ** (steps.fraction + steps.mantissa + 1),
        "high": steps.high,
        "y_type": element_type(str(np.dtype(output.dtype))),
    }
    return ROUND_FLOAT.call(name, [x], attrs, output)
