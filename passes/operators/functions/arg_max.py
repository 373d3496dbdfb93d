"""ArgMax and ArgMin: the largest integer stands where the largest real does; ONNX's own on integers are the definition.

The result is no activation but an index, int64, and leaves the model as it is.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.arg_max import ArgMax as ArgMaxKernel
from bevel.passes.operators.base import Activation, Operator, Reason, Site
from bevel.passes.operators.bodies import function
from bevel.passes.operators.formats.wide_values import dtype_of
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.reduced import without

WIDE = {"ArgMax": "WideArgMax", "ArgMin": "WideArgMin"}  # of int16, which onnxruntime does not compare


class ArgMax(Operator):
    float_ops: ClassVar = frozenset({"ArgMax"})
    limits: ClassVar = "the result is int64"
    integer_op: ClassVar = "ArgMax"
    also_lowers: ClassVar = frozenset({"WideArgMax"})
    wide: ClassVar = True
    ends: ClassVar = True

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        attrs = {
            "axis": int(site.node.attrs.get("axis", 0)) % len(x.tensor.shape),
            "keepdims": int(site.node.attrs.get("keepdims", 1)),
            "select_last_index": int(site.node.attrs.get("select_last_index", 0)),
        }
        if x.dtype == "int16":
            return site.call(WIDE[site.node.op], [x.tensor], attrs)
        return site.standard([x.tensor], attrs)

    def function(self, opset: int) -> onnx.FunctionProto:
        taken = "axis: int = @axis, keepdims: int = @keepdims, select_last_index: int = @select_last_index"
        body = f"x32 = Cast <to = 6> (x)\n  y = {self.integer_op} <{taken}> (x32)"
        return function(WIDE[self.integer_op], ("axis", "keepdims", "select_last_index"), ("x",), body, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value, axis = lowering.value(node.inputs[0]), int(node.attrs["axis"])
        place = value.order.index(axis)
        kernel = ArgMaxKernel(
            outer=prod(value.stored[:place]),
            n=value.stored[place],
            inner=prod(value.stored[place + 1 :]),
            largest=self.integer_op == "ArgMax",
            last=bool(node.attrs["select_last_index"]),
            dtype=dtype_of(node.inputs[0]),
        )
        order = value.order if node.attrs["keepdims"] else without(value.order, {axis})
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], order)


class ArgMin(ArgMax):
    float_ops: ClassVar = frozenset({"ArgMin"})
    integer_op: ClassVar = "ArgMin"
    also_lowers: ClassVar = frozenset({"WideArgMin"})
