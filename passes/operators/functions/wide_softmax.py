"""Softmax of int16, or to int16: the exponential as a product of two tables (`bevel.calib.arithmetic.softmax`).

The result has as many bits as it asks for, b: scale 2**-b, and a zero point of -2**(b - 1).
"""

from __future__ import annotations

from math import log2, prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.wide_softmax import WideSoftmax as WideSoftmaxKernel
from bevel.calib.arithmetic.requantize import MAX_SHIFT, Output
from bevel.calib.arithmetic.softmax import FINE, RECIPROCAL_BITS, TABLE_BITS, exponent_bits, tables
from bevel.passes.operators.base import DOMAIN, Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, PLACE, POWERS, constants, function
from bevel.passes.operators.formats.wide_rescale import wide_rescale
from bevel.passes.operators.formats.wide_values import dtype_of, output_attributes
from bevel.passes.operators.lowering import Lowering, Order
from bevel.passes.operators.products.wide_sums import stored_output

FEWEST_BITS = 15  # of an exponential: as many as keep half a step of int16
WHOLE_BITS = 16
WHOLE = Output(-(2**15), -(2**15), 2**15 - 1, "int16")
BODY = f"""
{constants("exponent", "bits")}
  base = Constant <value_int = {FINE}> ()
  two = Constant <value_int = 2> ()
  powers = Constant <value = int64[{MAX_SHIFT + 1}] {{{POWERS}}}> ()
  most = Constant <value_int = {2**RECIPROCAL_BITS}> ()
  table_bits = Constant <value_int = {2 * TABLE_BITS}> ()
  reciprocal_bits = Constant <value_int = {RECIPROCAL_BITS}> ()
  steps = Cast <to = 6> (x)
  largest = ReduceMax (steps, axes)
  distance = Sub (largest, steps)
  distance64 = Cast <to = 7> (distance)
  upper = Div (distance64, base)
  lower = Mod (distance64, base)
  coarse32 = Gather (coarse, upper)
  fine32 = Gather (fine, lower)
  coarse64 = Cast <to = 7> (coarse32)
  fine64 = Cast <to = 7> (fine32)
  product = Mul (coarse64, fine64)
  down = Sub (table_bits, exponent)
  unit = Gather (powers, down)
  half_unit = Div (unit, two)
  raised_product = Add (product, half_unit)
  e = Div (raised_product, unit)
  total = ReduceSum (e, axes)
  reciprocal = Div (most, total)
  scaled = Mul (e, reciprocal)
  share_down = Sub (reciprocal_bits, bits)
  share_unit = Gather (powers, share_down)
  half_share = Div (share_unit, two)
  raised_share = Add (scaled, half_share)
  shifted = Div (raised_share, share_unit)
{PLACE}
  y = Cast <to: int = @y_type> (clamped)
"""


class WideSoftmax(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by Softmax
    integer_op: ClassVar = "WideSoftmax"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        axis = int(site.node.attrs.get("axis", -1)) % len(site.shape)
        k = exponent_bits(site.shape[axis])
        if k < FEWEST_BITS:
            return Reason(f"its {site.shape[axis]} classes leave the exponentials fewer than {FEWEST_BITS} bits")
        coarse, fine = tables(x.scale, x.high - x.low + 1)
        inputs = [
            x.tensor,
            site.constant("coarse", coarse),
            site.constant("fine", fine),
            site.constant("axes", np.array([axis], np.int64)),
        ]
        bits = bits_of(site)
        if bits is not None:
            attrs = {"exponent": k, "bits": bits} | output_attributes(site.result)
            return site.call(self.integer_op, inputs, attrs)
        shares = gs.Variable(f"{site.name}/shares", np.int16, list(site.shape))
        attrs = {"exponent": k, "bits": WHOLE_BITS} | output_attributes(WHOLE)
        softmax = gs.Node(self.integer_op, site.name, attrs, inputs, [shares], domain=DOMAIN)
        given = Activation(shares, 2.0**-WHOLE_BITS, WHOLE.zero_point, WHOLE.low, WHOLE.high)
        then = wide_rescale(f"{site.name}/rescale", given, site.output, site.scale, site.result)
        return then if isinstance(then, Reason) else [softmax, *then]

    def function(self, opset: int) -> onnx.FunctionProto:
        attributes = ("exponent", "bits", *OUTPUT_ATTRIBUTES, "y_type")
        return function(self.integer_op, attributes, ("x", "coarse", "fine", "axes"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        coarse, fine, (axis,) = (lowering.constant(tensor) for tensor in node.inputs[1:])
        source, order = rows_of(lowering, x, int(axis))
        n = x.shape[int(axis)]
        kernel = WideSoftmaxKernel(
            rows=prod(x.shape) // n,
            n=n,
            coarse=len(coarse),
            exponent=node.attrs["exponent"],
            bits=node.attrs["bits"],
            output=stored_output(node),
            x_dtype=dtype_of(x),
        )
        lowering.emit(node, kernel, [source], (coarse, fine), y, order)


def bits_of(site: Site) -> int | None:
    """b where the result has scale 2**-b and zero point -2**(b - 1); None otherwise."""
    bits = round(-log2(site.scale))
    fixed = (2.0**-bits, -(2.0 ** (bits - 1)))
    return bits if 1 <= bits <= WHOLE_BITS and (site.scale, site.result.zero_point) == fixed else None


def rows_of(lowering: Lowering, x: gs.Tensor, axis: int) -> tuple[str, Order]:
    """The buffer and the order in which each row along `axis` lies side by side."""
    value = lowering.value(x)
    order = value.order
    behind = order[order.index(axis) + 1 :]
    if any(value.shape[other] != 1 for other in behind):
        order = (*(other for other in order if other != axis), axis)
    return lowering.reorder(value, order, x.name).buffer, order
