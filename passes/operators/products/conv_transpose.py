"""ConvTranspose with constant weights: a convolution of the input with zeros put between its pixels.

ONNX has no integer ConvTranspose. Putting stride - 1 pixels of value zx between the pixels, padding by dilation *
(kernel - 1) - pad, and convolving with the kernel turned by 180 degrees is the same sum (Dumoulin and Visin 2016, "A
guide to convolution arithmetic for deep learning", section 4.6), and each of these steps is a standard operator on
int8. Wider integers are spread as x - zx, with zeros, and convolved by the matrix product of `conv`.
"""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.conv_transpose import ConvTranspose as ConvTransposeKernel
from bevel.passes.operators.base import Activation, Array, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import REQUANTIZE
from bevel.passes.operators.geometry import edges, geometry, image_shape, two_dimensional, windowed
from bevel.passes.operators.lowering import Lowering, channels_last
from bevel.passes.operators.products.accumulate import (
    INPUTS,
    WIDE_ATTRIBUTES,
    WIDEN,
    X_ZERO_POINT,
    accumulation,
    forms,
    stored_sums,
)
from bevel.passes.operators.products.conv import PRODUCTS_OF_WINDOWS
from bevel.passes.operators.widths import dtype_of

Shape = tuple[int, ...]
LOWERED = ("strides", "dilations", "pads", "output_padding", "group")  # what the kernel is made of
SPREADING = ("apart_shape", "gaps", "spread_shape", "zero", "border")
SUMS = f"""
{X_ZERO_POINT}
  apart = Reshape (x, apart_shape)
  gapped = Pad (apart, gaps, zero)
  spread = Reshape (gapped, spread_shape)
  image = Pad (spread, border, zero)
  sums = ConvInteger <dilations: ints = @dilations, group: int = @group> (image, w, x_zero_point8)
  accumulator = Add (sums, b)
"""

# Of the 2-D image: what puts zeros between its pixels and around them, for a convolution of stride 1. 0 is x's batch.
SHAPES = ("kernel_shape", "positions", "apart", "gaps", "spread", "border", "matrices", "columns", "result")
GIVEN = "\n".join(f"  {name} = Constant <value_ints: ints = @{name}> ()" for name in (*SHAPES, "dilations"))
BODY = f"""
{GIVEN}
{WIDEN}
  strides = Constant <value_ints = [1, 1]> ()
  pixels = Reshape (centered, apart)
  gapped = Pad (pixels, gaps)
  image = Reshape (gapped, spread)
  padded = Pad (image, border)
{PRODUCTS_OF_WINDOWS}
{REQUANTIZE}
"""
WIDE = Function("WideConvTranspose", (*SHAPES, *LOWERED, *WIDE_ATTRIBUTES), INPUTS, BODY)
CONV_TRANSPOSE = forms(WIDE, LOWERED, (*INPUTS, *SPREADING), SUMS)


class ConvTranspose(Operator):
    float_ops: ClassVar = frozenset({"ConvTranspose"})
    limits: ClassVar = "1-D, 2-D; constant weights"
    functions: ClassVar = CONV_TRANSPOSE
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "ConvTranspose":
            return None
        return windowed(node, "transposed convolutions have", ("auto_pad", "output_shape"))

    def weight_axis(self, match: Match, index: int) -> int | None:
        return 1 if index == 1 else None

    def bias_index(self, match: Match) -> int | None:
        return 2

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, groups = site.inputs[0], int(site.node.attrs.get("group", 1))
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        sums = accumulation(site, x, channel_axis=1, groups=groups)
        if isinstance(sums, Reason):
            return sums
        spatial, shape = len(site.shape) - 2, tuple(x.tensor.shape)
        weight, *per_channel = sums.constants(site, trailing=spatial)
        weight.values = np.ascontiguousarray(turned(weight.values, groups))
        extra = [int(size) for size in site.node.attrs.get("output_padding", [0] * spatial)]
        steps = geometry(site.node, spatial) | {"output_padding": extra}
        attrs = steps | {"group": groups} | sums.attributes(site, x)
        inputs = [x.tensor, weight, *per_channel]
        if sums.wide:
            attrs |= image_geometry(steps, shape, weight.values.shape, site.shape, groups)
            return site.call(CONV_TRANSPOSE.wide, inputs, attrs)
        border = borders(weight.values.shape[2:], steps)
        inputs += spread_constants(site, shape, steps["strides"], border, x.zero_point)
        return site.call(CONV_TRANSPOSE.of(sums), inputs, attrs)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y, attrs = node.inputs[0], node.outputs[0], node.attrs
        weights, bias, multiplier, shift = (lowering.constant(tensor) for tensor in node.inputs[1:5])
        batch, channels_in, height, width = image_shape(tuple(x.shape))
        packed = upright(weights)
        kernel = ConvTransposeKernel(
            batch=batch,
            height=height,
            width=width,
            channels_in=channels_in,
            channels_out=len(weights),
            kernel=(packed.shape[1], packed.shape[2]),
            strides=two_dimensional(attrs["strides"], 1),
            dilations=two_dimensional(attrs["dilations"], 1),
            pads=edges(attrs["pads"]),
            output_padding=two_dimensional(attrs["output_padding"], 0),
            groups=int(attrs["group"]),
            x_zero_point=int(attrs["x_zero_point"]),
            output=stored_sums(node),
            x_dtype=dtype_of(x),
            w_dtype=str(packed.dtype),
            sum_dtype=str(bias.dtype),
        )
        layout = channels_last(len(y.shape))
        constants = (packed, bias.ravel(), multiplier.ravel(), shift.ravel())
        lowering.emit(node, kernel, [lowering.read(x, layout)], constants, y, layout)


def spread_constants(
    site: Site, shape: tuple[int, ...], strides: list[int], border: list[int], zero_point: int
) -> list[gs.Constant]:
    """The shapes and pads that put gaps of zx behind every pixel, and a border around them."""
    batch, channels, *image = shape
    axes = range(len(image))
    apart = [batch, channels, *(size for axis in axes for size in (image[axis], 1))]
    gaps = [0] * (2 * len(apart))
    for axis in axes:
        gaps[len(apart) + 2 + 2 * axis + 1] = strides[axis] - 1
    spread = [batch, channels, *(image[axis] * strides[axis] for axis in axes)]
    border_pads = [0, 0, *border[: len(image)], 0, 0, *border[len(image) :]]
    roles = {"apart_shape": apart, "gaps": gaps, "spread_shape": spread}
    return [
        *(site.constant(role, np.array(values, np.int64)) for role, values in roles.items()),
        site.constant("zero", np.array(zero_point, np.int8)),
        site.constant("border", np.array(border_pads, np.int64)),
    ]


def image_geometry(steps: dict[str, list[int]], x: Shape, weights: Shape, y: Shape, groups: int) -> dict[str, Any]:
    """The shapes that the spread 2-D image and its matrices have; `weights` are turned."""
    strides = two_dimensional(steps["strides"], 1)
    in_2d = {
        "strides": list(strides),
        "dilations": list(two_dimensional(steps["dilations"], 1)),
        "pads": list(edges(steps["pads"])),
        "output_padding": list(two_dimensional(steps["output_padding"], 0)),
    }
    kernel = two_dimensional(list(weights[2:]), 1)
    top, left, bottom, right = borders(kernel, in_2d)
    (_, channels, height, width), taps = image_shape(x), prod(weights[1:])
    return {
        "kernel_shape": list(kernel),
        "dilations": in_2d["dilations"],
        "positions": list(image_shape(y)[2:]),
        "apart": [0, channels, height, 1, width, 1],
        "gaps": [0] * 9 + [strides[0] - 1, 0, strides[1] - 1],
        "spread": [0, channels, height * strides[0], width * strides[1]],
        "border": [0, 0, top, left, 0, 0, bottom, right],
        "matrices": [groups, weights[0] // groups, taps],
        "columns": [0, groups, taps, prod(y[2:])],
        "result": [0, *y[1:]],
    }


def turned(weights: Array, groups: int) -> Array:
    """[in, out / groups, kernel...] to a convolution's [out, in / groups, kernel...], turned by 180 degrees."""
    channels_in, per_group, *window = weights.shape
    grouped = weights.reshape(groups, channels_in // groups, per_group, *window).swapaxes(1, 2)
    flat = grouped.reshape(groups * per_group, channels_in // groups, *window)
    return np.flip(flat, axis=tuple(range(2, flat.ndim)))


def upright(weights: Array) -> Array:
    """Turned weights [out, in / groups, kernel...] as the kernel keeps them: [out, kh, kw, in / groups], as ONNX's."""
    flipped = np.flip(weights, axis=tuple(range(2, weights.ndim)))
    images = flipped.reshape(*weights.shape[:2], *two_dimensional(list(weights.shape[2:]), 1))
    return np.ascontiguousarray(np.moveaxis(images, 1, -1))


def borders(window: Shape, steps: dict[str, list[int]]) -> list[int]:
    """Pads around the spread image, all begins then all ends; the gap behind the last pixel counts towards the end.

    Negative where more is cut off than the kernel reaches; ONNX's Pad crops then.
    """
    pads, axes = steps["pads"], range(len(window))
    reach = [steps["dilations"][axis] * (window[axis] - 1) for axis in axes]
    begin = [reach[axis] - pads[axis] for axis in axes]
    gaps = [steps["output_padding"][axis] - (steps["strides"][axis] - 1) for axis in axes]
    return [*begin, *(reach[axis] - pads[axis + len(window)] + gaps[axis] for axis in axes)]
