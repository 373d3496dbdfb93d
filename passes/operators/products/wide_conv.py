"""Convolution whose integers pass int8 or whose sums pass int32 (`wide_sums`), 1-D and 2-D, any group.

ConvInteger takes 8-bit tensors only. Its sums are a matrix product of the weights with a matrix that holds, for every
result pixel, the input pixels its window covers (im2col; Chellapilla et al. 2006, "High Performance Convolutional
Neural Networks for Document Processing"), and MatMul takes int32 and int64. Two Gathers make that matrix, since rows
and columns of an image are selected independently of each other.
"""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.coded_conv import call_of
from bevel.backends.program.ops.conv import Conv as ConvKernel
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import REQUANTIZE_TO_TYPE, function
from bevel.passes.operators.geometry import edges, geometry, image_shape, two_dimensional
from bevel.passes.operators.lowering import Lowering, channels_last
from bevel.passes.operators.products.wide_sums import (
    ATTRIBUTES,
    INPUTS,
    WIDEN,
    kernel_bias,
    stored_output,
    stored_weights,
    wide_sums,
)

# Two numbers each, but pads of all four axes, as onnxruntime's transpose optimizer overlooks the axes that a Pad names;
# then the shapes of x as a 2-D image, of the weights as a matrix for each group, of the windows as columns, and of y.
# There, 0 is x's batch.
GEOMETRY = ("kernel_shape", "strides", "dilations", "pads", "positions", "image", "matrices", "columns", "result")
Shape = tuple[int, ...]
GIVEN = "\n".join(f"  {name} = Constant <value_ints: ints = @{name}> ()" for name in GEOMETRY)


def shapes(x: Shape, weights: Shape, y: Shape, groups: int) -> dict[str, Any]:
    """The attributes that depend on channels and their groups."""
    channels, taps = weights[0], prod(weights[1:])
    return {
        "image": [0, *image_shape(x)[1:]],
        "matrices": [groups, channels // groups, taps],
        "columns": [0, groups, taps, prod(y[2:])],
        "result": [0, *y[1:]],
        "group": groups,
    }


def windows(axis: int, name: str) -> str:
    """`<name>` int64 [kernel, positions]: the place in the padded image of each tap of each window along `axis`."""
    return f"""
  {name}_axis = Constant <value_int = {axis}> ()
  {name}_reach = Gather (reaches, {name}_axis)
  {name}_dilation = Gather (dilations, {name}_axis)
  {name}_end = Gather (ends, {name}_axis)
  {name}_stride = Gather (strides, {name}_axis)
  {name}_tap = Range (first, {name}_reach, {name}_dilation)
  {name}_start = Range (first, {name}_end, {name}_stride)
  {name}_column = Unsqueeze ({name}_tap, last)
  {name} = Add ({name}_column, {name}_start)
"""


# `padded`, `weights` of the sums' type, and the constants of GEOMETRY but for pads and image -> `accumulator`
PRODUCTS_OF_WINDOWS = f"""
  first = Constant <value_int = 0> ()
  last = Constant <value_ints = [-1]> ()
  reaches = Mul (kernel_shape, dilations)
  ends = Mul (positions, strides)
{windows(0, "down")}
{windows(1, "across")}
  by_row = Gather <axis = 2> (padded, down)
  by_tap = Gather <axis = 4> (by_row, across)
  taps_first = Transpose <perm = [0, 1, 2, 4, 3, 5]> (by_tap)
  windows = Reshape (taps_first, columns)
  groups = Reshape (weights, matrices)
  products = MatMul (groups, windows)
  sums = Reshape (products, result)
  accumulator = Add (sums, b)
"""

BODY = f"""
{GIVEN}
{WIDEN}
  pixels = Reshape (centered, image)
  padded = Pad (pixels, pads)
{PRODUCTS_OF_WINDOWS}
{REQUANTIZE_TO_TYPE}
"""


class WideConv(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # `conv.Conv` matches, and hands on what int8 cannot hold
    integer_op: ClassVar = "WideConv"
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        sums = wide_sums(site, x, channel_axis=0, summed_axis=1)
        if isinstance(sums, Reason):
            return sums
        spatial, groups = len(site.shape) - 2, int(site.node.attrs.get("group", 1))
        steps = geometry(site.node, spatial)
        top, left, bottom, right = edges(steps["pads"])
        attrs = {
            "kernel_shape": list(two_dimensional(list(sums.weights.codes.shape[2:]), 1)),
            "strides": list(two_dimensional(steps["strides"], 1)),
            "dilations": list(two_dimensional(steps["dilations"], 1)),
            "pads": [0, 0, top, left, 0, 0, bottom, right],
            "positions": list(image_shape(site.shape)[2:]),
        }
        attrs |= shapes(tuple(x.tensor.shape), sums.weights.codes.shape, site.shape, groups)
        inputs = [x.tensor, *sums.constants(site, trailing=spatial)]
        return site.call(self.integer_op, inputs, attrs | sums.attributes(site, x))

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, (*GEOMETRY, "group", *ATTRIBUTES), INPUTS, BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        weights, bias, multiplier, shift = (lowering.constant(tensor) for tensor in node.inputs[1:5])
        batch, channels_in, height, width = image_shape(tuple(x.shape))
        zero_point, attrs = int(node.attrs["x_zero_point"]), node.attrs
        plain = ConvKernel(
            batch=batch,
            height=height,
            width=width,
            channels_in=channels_in,
            channels_out=weights.shape[0],
            kernel=two_dimensional(attrs["kernel_shape"], 1),
            strides=two_dimensional(attrs["strides"], 1),
            dilations=two_dimensional(attrs["dilations"], 1),
            pads=(*attrs["pads"][2:4], *attrs["pads"][6:]),
            groups=int(attrs["group"]),
            x_zero_point=zero_point,
            output=stored_output(node),
        )
        channels_last_axes = (0, *range(2, weights.ndim), 1)
        stored = stored_weights(node.inputs[1], lowering, channels_last_axes)
        rescaling = (kernel_bias(bias, weights, zero_point), multiplier.ravel(), shift.ravel())
        special = call_of(plain, stored, rescaling, str(np.dtype(x.dtype)), wide=bias.dtype == np.int64)
        layout = channels_last(len(y.shape))
        lowering.emit(node, special.kernel, [lowering.read(x, layout)], special.constants, y, layout)
