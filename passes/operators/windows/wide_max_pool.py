"""MaxPool of int16 and int32: ONNX defines it for int8 and floats, and float32 holds every integer below 2**24.

The maximum is one of the integers that go in; nothing is computed with the floats.
"""

from __future__ import annotations

from typing import ClassVar

import onnx
import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import function
from bevel.passes.operators.geometry import geometry
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.products.wide_sums import element_type
from bevel.passes.operators.windows.max_pool_kernel import lower_max_pool

GEOMETRY = ("kernel_shape", "strides", "dilations", "pads")
BODY = f"""
  reals = Cast <to = 1> (x)
  largest = MaxPool <{", ".join(f"{name}: ints = @{name}" for name in GEOMETRY)}> (reals)
  y = Cast <to: int = @y_type> (largest)
"""


class WideMaxPool(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by MaxPool
    integer_op: ClassVar = "WideMaxPool"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        whole_image = site.node.op == "GlobalMaxPool"
        window = [int(size) for size in (x.tensor.shape[2:] if whole_image else site.node.attrs["kernel_shape"])]
        attrs = {"kernel_shape": window} | geometry(site.node, len(window))
        return site.call(self.integer_op, [x.tensor], attrs | {"y_type": element_type(site.result.dtype)})

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, (*GEOMETRY, "y_type"), ("x",), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        lower_max_pool(node, lowering)
