"""ArgMax and ArgMin: the largest integer stands where the largest real does; ONNX's own on integers are the definition.
onnxruntime compares no int16; int32 holds it.

The result is no activation but an index, int64, and leaves the model as it is.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.arg_max import ArgMax as ArgMaxKernel
from bevel.passes.operators.base import Activation, Function, Operator, Reason, Site
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.sums.reduced import without
from bevel.passes.operators.widths import dtype_of

ATTRIBUTES = ("axis", "keepdims", "select_last_index")
GIVEN = ", ".join(f"{name}: int = @{name}" for name in ATTRIBUTES)
WIDE = {
    name: Function(f"Wide{name}", ATTRIBUTES, ("x",), f"x32 = Cast <to = 6> (x)\n  y = {name} <{GIVEN}> (x32)")
    for name in ("ArgMax", "ArgMin")
}


class ArgMax(Operator):
    float_ops: ClassVar = frozenset({"ArgMax", "ArgMin"})
    limits: ClassVar = "the result is int64"
    functions: ClassVar = tuple(WIDE.values())
    standard: ClassVar = frozenset({"ArgMax", "ArgMin"})
    wide: ClassVar = True
    ends: ClassVar = True

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        numbers = (
            int(site.node.attrs.get("axis", 0)) % len(x.tensor.shape),
            int(site.node.attrs.get("keepdims", 1)),
            int(site.node.attrs.get("select_last_index", 0)),
        )
        attrs = dict(zip(ATTRIBUTES, numbers, strict=True))
        wide = x.dtype == "int16"
        return site.call(WIDE[site.node.op], [x.tensor], attrs) if wide else site.standard([x.tensor], attrs)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value, axis = lowering.value(node.inputs[0]), int(node.attrs["axis"])
        place = value.order.index(axis)
        kernel = ArgMaxKernel(
            outer=prod(value.stored[:place]),
            n=value.stored[place],
            inner=prod(value.stored[place + 1 :]),
            largest=node.op.endswith("ArgMax"),
            last=bool(node.attrs["select_last_index"]),
            dtype=dtype_of(node.inputs[0]),
        )
        order = value.order if node.attrs["keepdims"] else without(value.order, {axis})
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], order)
