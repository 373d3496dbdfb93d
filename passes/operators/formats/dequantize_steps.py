"""The reals of int32 steps, in standard operators: y = float(x) * scale, exact where DequantizeLinear is.

DequantizeLinear takes int32 as well. But onnxruntime, at its default settings, moves it behind what only moves values
and puts a QuantizeLinear of the same type there, and QuantizeLinear makes no int32.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.dequantize import Dequantize
from bevel.passes.operators.base import Function, IntegerOperator
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.widths import dtype_of

BODY = """
  steps = Cast <to = 1> (x)
  y = Mul (steps, scale)
"""
DEQUANTIZE_STEPS = Function("DequantizeSteps", (), ("x", "scale"), BODY)


class DequantizeSteps(IntegerOperator):
    functions: ClassVar = (DEQUANTIZE_STEPS,)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        scale = float(lowering.constant(node.inputs[1]))
        kernel = Dequantize(prod(value.shape), scale, zero_point=0, dtype=dtype_of(node.inputs[0]))
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def dequantize_steps(name: str, x: gs.Tensor, scale: float, output: gs.Variable) -> gs.Node:
    """The reals of x, steps of size `scale`, in `output`."""
    size = gs.Constant(f"{name}/scale", np.array(scale, np.float32))
    return DEQUANTIZE_STEPS.call(name, [x, size], {}, output)
