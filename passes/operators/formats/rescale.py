"""The same reals on another scale, perhaps clamped, for integers wider than int8: y = requantize(x - zx)."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.rescale import Rescale as RescaleKernel
from bevel.calib.arithmetic.requantize import Output
from bevel.passes.operators.base import Activation, Function, IntegerOperator, Reason
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE, constants
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.elementwise import taken
from bevel.passes.operators.widths import dtype_of, output_attributes, rescaling, stored_output

NUMBERS = ("x_zero_point", "multiplier", "shift")
BODY = f"""
{constants(*NUMBERS)}
  x64 = Cast <to = 7> (x)
  accumulator = Sub (x64, x_zero_point)
{REQUANTIZE}
"""
RESCALE = Function("Rescale", (*NUMBERS, *OUTPUT_ATTRIBUTES), ("x",), BODY)


class Rescale(IntegerOperator):
    functions: ClassVar = (RESCALE,)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value, given = lowering.value(node.inputs[0]), taken(node, NUMBERS)
        kernel = RescaleKernel(
            size=prod(value.shape), **given, output=stored_output(node), x_dtype=dtype_of(node.inputs[0])
        )
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def rescale_wide(name: str, x: Activation, output: gs.Variable, scale: float, result: Output) -> list[gs.Node] | Reason:
    """x's reals in units of `scale`, in `output`."""
    found = rescaling(np.array(x.scale / scale), x.reach)
    if isinstance(found, Reason):
        return found
    numbers = dict(zip(NUMBERS, (x.zero_point, *map(int, found)), strict=True))
    return [RESCALE.call(name, [x.tensor], numbers | output_attributes(result), output)]
