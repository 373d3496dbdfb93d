"""Convolution with constant weights, 1-D and 2-D, any group: bias, requantize per output channel.

    y = requantize(sum((x - zx) * w) + b)

Of int8, the sums are ConvInteger's. The zero point of x is folded into the bias for the kernel: sum((x - zx) * w) + b
== sum(x * w) + (b - zx * sum(w)), with padding equal to zx (Jacob et al. 2018, section 2.3).

ConvInteger takes 8-bit tensors only. Other sums are a matrix product of the weights with a matrix that holds, for every
result pixel, the input pixels its window covers (im2col; Chellapilla et al. 2006, "High Performance Convolutional
Neural Networks for Document Processing"), and MatMul takes int32 and int64. Two Gathers make that matrix, since rows
and columns of an image are selected independently of each other.
"""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.coded_conv import call_of
from bevel.backends.program.ops.conv import Conv as ConvKernel
from bevel.passes.operators.base import Activation, Array, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import REQUANTIZE
from bevel.passes.operators.geometry import edges, geometry, image_shape, two_dimensional, windowed
from bevel.passes.operators.lowering import Lowering, channels_last, moved
from bevel.passes.operators.products.accumulate import (
    INPUTS,
    WIDE_ATTRIBUTES,
    WIDEN,
    X_ZERO_POINT,
    accumulation,
    forms,
    kernel_bias,
    stored_sums,
    stored_weights,
)
from bevel.passes.operators.widths import dtype_of

Shape = tuple[int, ...]
STEPS = ("kernel_shape", "strides", "dilations", "pads")
OF_STEPS = ", ".join(f"{name}: ints = @{name}" for name in STEPS)
SUMS = f"""
{X_ZERO_POINT}
  sums = ConvInteger <{OF_STEPS}, group: int = @group> (x, w, x_zero_point8)
  accumulator = Add (sums, b)
"""

# Two numbers each, but pads of all four axes, as onnxruntime's transpose optimizer overlooks the axes that a Pad names;
# then the shapes of x as a 2-D image, of the weights as a matrix for each group, of the windows as columns, and of y.
# There, 0 is x's batch.
GEOMETRY = ("kernel_shape", "strides", "dilations", "pads", "positions", "image", "matrices", "columns", "result")
GIVEN = "\n".join(f"  {name} = Constant <value_ints: ints = @{name}> ()" for name in GEOMETRY)


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
{REQUANTIZE}
"""
WIDE = Function("WideConv", (*GEOMETRY, "group", *WIDE_ATTRIBUTES), INPUTS, BODY)
CONV = forms(WIDE, (*STEPS, "group"), INPUTS, SUMS)


class Conv(Operator):
    float_ops: ClassVar = frozenset({"Conv"})
    limits: ClassVar = "1-D, 2-D; constant weights"
    functions: ClassVar = CONV
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return windowed(node, "convolutions have", ("auto_pad",)) if node.op == "Conv" else None

    def weight_axis(self, match: Match, index: int) -> int | None:
        return 0 if index == 1 else None

    def bias_index(self, match: Match) -> int | None:
        return 2

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        sums = accumulation(site, x, channel_axis=0, summed_axis=1)
        if isinstance(sums, Reason):
            return sums
        spatial, groups = len(site.shape) - 2, int(site.node.attrs.get("group", 1))
        window, inputs = sums.weights.codes.shape[2:], [x.tensor, *sums.constants(site, trailing=spatial)]
        attrs = geometry(site.node, spatial) | {"kernel_shape": list(window)}
        if sums.wide:
            attrs = image_geometry(attrs, site.shape)
            attrs |= shapes(tuple(x.tensor.shape), sums.weights.codes.shape, site.shape, groups)
        return site.call(CONV.of(sums), inputs, attrs | {"group": groups} | sums.attributes(site, x))

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        weights, bias, multiplier, shift = (lowering.constant(tensor) for tensor in node.inputs[1:5])
        plain, layout = plain_kernel(node, weights.shape), channels_last(len(y.shape))
        rescaling = (kernel_bias(bias, weights, plain.x_zero_point), multiplier.ravel(), shift.ravel())
        source = [lowering.read(x, layout)]
        if node.op == CONV.wide.name:
            stored = stored_weights(node.inputs[1], lowering, (0, *range(2, weights.ndim), 1))
            special = call_of(plain, stored, rescaling, dtype_of(x), wide=bias.dtype == np.int64)
            lowering.emit(node, special.kernel, source, special.constants, y, layout)
        else:

            def inputs_last(weights: Array) -> Array:
                """[out, in / groups, kh, kw] to [out, kh, kw, in / groups]."""
                return np.moveaxis(weights.reshape(*weights.shape[:2], *plain.kernel), 1, -1)

            coded = moved(lowering.coding(node.inputs[1]), inputs_last)
            lowering.emit(node, plain, source, (inputs_last(weights), *rescaling), y, layout, coded)


def image_geometry(steps: dict[str, Any], y: Shape) -> dict[str, Any]:
    """The attributes of a window over a 2-D image, from those of 1-D or 2-D."""
    top, left, bottom, right = edges(steps["pads"])
    return {name: list(two_dimensional(steps[name], 1)) for name in ("kernel_shape", "strides", "dilations")} | {
        "pads": [0, 0, top, left, 0, 0, bottom, right],
        "positions": list(image_shape(y)[2:]),
    }


def shapes(x: Shape, weights: Shape, y: Shape, groups: int) -> dict[str, Any]:
    """The attributes that depend on channels and their groups."""
    channels, taps = weights[0], prod(weights[1:])
    return {
        "image": [0, *image_shape(x)[1:]],
        "matrices": [groups, channels // groups, taps],
        "columns": [0, groups, taps, prod(y[2:])],
        "result": [0, *y[1:]],
    }


def plain_kernel(node: gs.Node, weights: Shape) -> ConvKernel:
    batch, channels_in, height, width = image_shape(tuple(node.inputs[0].shape))
    attrs, pads = node.attrs, node.attrs["pads"]
    return ConvKernel(
        batch=batch,
        height=height,
        width=width,
        channels_in=channels_in,
        channels_out=weights[0],
        kernel=two_dimensional(attrs["kernel_shape"], 1),
        strides=two_dimensional(attrs["strides"], 1),
        dilations=two_dimensional(attrs["dilations"], 1),
        pads=(*pads[2:4], *pads[6:]) if node.op == CONV.wide.name else edges(pads),
        groups=int(attrs["group"]),
        x_zero_point=int(attrs["x_zero_point"]),
        output=stored_sums(node),
    )
