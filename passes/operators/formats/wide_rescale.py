"""The same reals on another scale, perhaps clamped, for integers wider than int8: y = requantize(x - zx)."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.wide_rescale import WideRescale as WideRescaleKernel
from bevel.calib.arithmetic.requantize import Output
from bevel.passes.operators.base import DOMAIN, Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE_TO_TYPE, constants, function
from bevel.passes.operators.formats.wide_values import dtype_of, output_attributes, rescaling
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.products.wide_sums import stored_output

BODY = f"""
{constants("x_zero_point", "multiplier", "shift")}
  x64 = Cast <to = 7> (x)
  accumulator = Sub (x64, x_zero_point)
{REQUANTIZE_TO_TYPE}
"""


class WideRescale(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by the integerizer
    integer_op: ClassVar = "WideRescale"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        return wide_rescale(site.name, x, site.output, site.scale, site.result)

    def function(self, opset: int) -> onnx.FunctionProto:
        attributes = ("x_zero_point", "multiplier", "shift", *OUTPUT_ATTRIBUTES, "y_type")
        return function(self.integer_op, attributes, ("x",), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        kernel = WideRescaleKernel(
            size=prod(value.shape),
            x_zero_point=node.attrs["x_zero_point"],
            multiplier=node.attrs["multiplier"],
            shift=node.attrs["shift"],
            output=stored_output(node),
            x_dtype=dtype_of(node.inputs[0]),
        )
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def wide_rescale(name: str, x: Activation, output: gs.Variable, scale: float, result: Output) -> list[gs.Node] | Reason:
    """x's reals in units of `scale`, in `output`."""
    found = rescaling(np.array(x.scale / scale), x.reach)
    if isinstance(found, Reason):
        return found
    attrs = {"x_zero_point": x.zero_point, "multiplier": int(found[0]), "shift": int(found[1])}
    return [
        gs.Node("WideRescale", name, attrs | output_attributes(result), [x.tensor], [output], domain=DOMAIN),
    ]
