"""Resize of int16 images: onnxruntime's own Resize has no int16.

Nearest gathers lines and then pixels. Bilinear is the product of `bevel.passes.operators.windows.resize`, in int64.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.resize_bilinear import MAX_BITS, Rescaling, ResizeBilinear
from bevel.backends.program.ops.resize_nearest import ResizeNearest
from bevel.calib.arithmetic.requantize import Output
from bevel.passes.operators.base import Array, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, PLACE, ROUNDING_SHIFT, function
from bevel.passes.operators.formats.wide_values import dtype_of
from bevel.passes.operators.lowering import Lowering, channels_last
from bevel.passes.operators.products.wide_sums import stored_output

NEAREST = """
  lines = Gather <axis = 2> (x, rows)
  y = Gather <axis = 3> (lines, columns)
"""
BILINEAR = f"""
  x64 = Cast <to = 7> (x)
  rows64 = Cast <to = 7> (rows)
  columns64 = Cast <to = 7> (columns)
  lines = MatMul (rows64, x64)
  product = MatMul (lines, columns64)
  shift = Constant <value_int = {2 * MAX_BITS["int16"]}> ()
{ROUNDING_SHIFT}
{PLACE}
  y = Cast <to: int = @y_type> (clamped)
"""


class WideResizeNearest(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by Resize
    integer_op: ClassVar = "WideResizeNearest"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        return Reason("it is made of a Resize")

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, (), ("x", "rows", "columns"), NEAREST, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        layout = channels_last(4)
        (batch, channels, height, width), (out_height, out_width) = x.shape, y.shape[2:]
        kernel = ResizeNearest(batch, height, width, channels, out_height, out_width, dtype_of(x))
        constants = [lowering.constant(tensor) for tensor in node.inputs[1:]]
        lowering.emit(node, kernel, [lowering.read(x, layout)], constants, y, layout)


class WideResizeBilinear(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by Resize
    integer_op: ClassVar = "WideResizeBilinear"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        return Reason("it is made of a Resize")

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, (*OUTPUT_ATTRIBUTES, "y_type"), ("x", "rows", "columns"), BILINEAR, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        lower_bilinear(node, lowering, stored_output(node))


def wide_nearest(site: Site, x: gs.Tensor, rows: Array, columns: Array) -> list[gs.Node]:
    """The pixels of x in these rows and columns."""
    constants = [site.constant(role, lines.astype(np.int32)) for role, lines in (("rows", rows), ("columns", columns))]
    return site.call(WideResizeNearest.integer_op, [x, *constants], {})


def lower_bilinear(node: gs.Node, lowering: Lowering, output: Output, rescaling: Rescaling | None = None) -> None:
    """The call of a resizing by weights of lines and of pixels, whichever type its image has."""
    x, y = node.inputs[0], node.outputs[0]
    layout = channels_last(4)
    (batch, channels, height, width), (out_height, out_width) = x.shape, y.shape[2:]
    sizes = (batch, height, width, channels, out_height, out_width)
    kernel = ResizeBilinear(*sizes, MAX_BITS[output.dtype], output, rescaling)
    rows, row_weights = taps(lowering.constant(node.inputs[1]))
    columns, column_weights = taps(lowering.constant(node.inputs[2]).T)
    constants = (rows, row_weights, columns, column_weights)
    lowering.emit(node, kernel, [lowering.read(x, layout)], constants, y, layout)


def taps(codes: Array) -> tuple[Array, Array]:
    """[out, in] with at most two weights a row, as two indices and two weights a row."""
    order = np.argsort(codes == 0, axis=1, kind="stable")[:, :2]
    if order.shape[1] == 1:
        order = np.repeat(order, 2, axis=1)
        weights = np.concatenate([codes, np.zeros_like(codes)], axis=1)
        return order.astype(np.int32), weights.astype(np.int32)
    return order.astype(np.int32), np.take_along_axis(codes, order, axis=1).astype(np.int32)
