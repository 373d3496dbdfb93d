"""uint8 and int8 codes of the same reals: q - 128 and the zero point with it, at ports other tools made uint8."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.copy import ConvertSign
from bevel.passes.operators.base import Function, IntegerOperator
from bevel.passes.operators.bodies import constants
from bevel.passes.operators.lowering import Lowering

BODY = f"""
{constants("offset")}
  x32 = Cast <to = 6> (x)
  offset32 = Cast <to = 6> (offset)
  moved = Add (x32, offset32)
  y = Cast <to: int = @to> (moved)
"""
FLIP_SIGN = Function("FlipSign", ("offset", "to"), ("x",), BODY)


class FlipSign(IntegerOperator):
    functions: ClassVar = (FLIP_SIGN,)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        source = lowering.buffers[value.buffer].dtype
        kernel = ConvertSign(size=int(np.prod(value.shape)), source=source)
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def flip_sign(name: str, x: gs.Tensor, y: gs.Variable) -> gs.Node:
    """`y`, int8 or uint8, from `x`, the other."""
    signed = np.dtype(y.dtype) == np.int8
    attrs = {"offset": -128 if signed else 128, "to": onnx.TensorProto.INT8 if signed else onnx.TensorProto.UINT8}
    return FLIP_SIGN.call(name, [x], attrs, y)
