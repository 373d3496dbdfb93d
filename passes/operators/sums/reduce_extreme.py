"""ReduceMax and ReduceMin: the largest integer is the largest real, so input and output share their quantization and
ONNX's own operators on int8 are the definition. On int16, which onnxruntime does not reduce, it is int32's."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.reduce_extreme import ReduceExtreme as ReduceExtremeKernel
from bevel.passes.operators.base import Activation, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import constants_of
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.reduced import laid, matched_reduction, reduced_axes
from bevel.passes.operators.widths import dtype_of, element_type

# The smallest of x is the largest of -x, negated.
BODY = f"""
{constants_of(onnx.TensorProto.INT32, "sign")}
  x32 = Cast <to = 6> (x)
  signed = Mul (x32, sign)
  largest = ReduceMax <keepdims: int = @keepdims> (signed, axes)
  result = Mul (largest, sign)
  y = Cast <to: int = @y_type> (result)
"""
WIDE = Function("WideReduceExtreme", ("keepdims", "sign", "y_type"), ("x", "axes"), BODY)


class ReduceExtreme(Operator):
    float_ops: ClassVar = frozenset({"ReduceMax", "ReduceMin"})
    limits: ClassVar = "any axes, constant"
    functions: ClassVar = (WIDE,)
    standard: ClassVar = frozenset({"ReduceMax", "ReduceMin"})
    ties: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return matched_reduction(node) if node.op in self.float_ops else None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, axes = site.inputs[0], reduced_axes(site.node)
        if not isinstance(x, Activation) or axes is None:
            return Reason("its input is not quantized")
        if not site.keeps_quantization():
            return Reason("its input and output are quantized differently")
        attrs = {"keepdims": int(site.node.attrs.get("keepdims", 1))}
        inputs = [x.tensor, site.constant("axes", np.array(axes, np.int64))]
        if not site.wide:
            return site.standard(inputs, attrs)
        sign = 1 if site.node.op == "ReduceMax" else -1
        attrs |= {"sign": sign, "y_type": element_type(site.result.dtype)}
        return site.call(WIDE, inputs, attrs)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        axes = {int(axis) for axis in lowering.constant(node.inputs[1])}
        x = laid(node, axes, bool(node.attrs["keepdims"]), lowering)
        largest = node.attrs["sign"] > 0 if node.op == WIDE.name else node.op == "ReduceMax"
        kernel = ReduceExtremeKernel(x.outer, x.reduced, x.inner, largest, dtype_of(node.inputs[0]))
        lowering.emit(node, kernel, [x.buffer], (), node.outputs[0], x.order)
