"""Integer-only Softmax: exponentials from a table of the distance to the row's maximum, one division an element.

    e = table[max(x) - x],  table[d] = round(exp(-sx * d) * 2**k),    y = (256 * e + sum(e) // 2) // sum(e) - 128

The result has scale 1/256 and zero point -128, as TensorFlow Lite's int8 Softmax. k is the largest that keeps
n * 2**k and 256 * 2**k within 31 bits. The table replaces the polynomial of Kim et al. 2021, "I-BERT", section 3.5: an
8-bit input has only 256 distances.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.softmax import Softmax as SoftmaxKernel
from bevel.calib.arithmetic.requantize import Output
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import function
from bevel.passes.operators.functions.table import rescale
from bevel.passes.operators.functions.wide_softmax import WideSoftmax, rows_of
from bevel.passes.operators.lowering import Lowering

SCALE, ZERO_POINT = 1 / 256, -128
LARGEST_EXPONENT = 22


BODY = f"""
  steps = Cast <to = 6> (x)
  largest = ReduceMax (steps, axes)
  distance = Sub (largest, steps)
  e32 = Gather (table, distance)
  e = Cast <to = 7> (e32)
  total = ReduceSum (e, axes)
  units = Constant <value_int = 256> ()
  two = Constant <value_int = 2> ()
  scaled = Mul (e, units)
  half = Div (total, two)
  sum = Add (scaled, half)
  share = Div (sum, total)
  zero_point = Constant <value_int = {ZERO_POINT}> ()
  low = Constant <value_int = -128> ()
  high = Constant <value_int = 127> ()
  placed = Add (share, zero_point)
  clamped = Clip (placed, low, high)
  y = Cast <to = 3> (clamped)
"""


class Softmax(Operator):
    float_ops: ClassVar = frozenset({"Softmax"})
    limits: ClassVar = "any axis"
    integer_op: ClassVar = "Softmax"
    wide_codes: ClassVar = True

    def fixed_output(self, match: Match) -> tuple[float, int] | None:
        return SCALE, ZERO_POINT

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        if site.wide:
            return WideSoftmax().integerize(site)
        axis = int(site.node.attrs.get("axis", -1)) % len(site.shape)
        k = exponent_bits(site.shape[axis])
        if k < 8:
            return Reason(f"its {site.shape[axis]} classes leave the exponentials fewer than 8 bits")
        table = np.rint(np.exp(-x.scale * np.arange(256)) * 2**k).astype(np.int32)
        inputs = [x.tensor, site.constant("table", table), site.constant("axes", np.array([axis], np.int64))]
        if (site.scale, site.result.zero_point) == (SCALE, ZERO_POINT):
            return site.call(self.integer_op, inputs, {})
        shares = gs.Variable(f"{site.name}/shares", np.int8, list(site.shape))
        softmax = gs.Node(self.integer_op, site.name, {}, inputs, [shares], domain="bevel")
        given = Activation(shares, SCALE, ZERO_POINT)
        return [softmax, *rescale(f"{site.name}/rescale", given, site.output, site.scale, site.result)]

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, (), ("x", "table", "axes"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        (axis,) = lowering.constant(node.inputs[2])
        source, order = rows_of(lowering, x, int(axis))
        n = x.shape[int(axis)]
        kernel = SoftmaxKernel(rows=prod(x.shape) // n, n=n, output=Output(ZERO_POINT))
        lowering.emit(node, kernel, [source], (lowering.constant(node.inputs[1]),), y, order)


def exponent_bits(n: int) -> int:
    """The largest k with n * 2**k < 2**31 and 256 * 2**k + n * 2**k / 2 < 2**32."""
    return min(LARGEST_EXPONENT, 30 - (n - 1).bit_length())
