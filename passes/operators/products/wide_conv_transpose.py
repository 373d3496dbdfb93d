"""ConvTranspose whose integers pass int8 or whose sums pass int32 (`wide_sums`), 1-D and 2-D, any group.

As `conv_transpose`: zeros between the pixels of x - zx, and a convolution with the turned kernel, which is the matrix
product of `wide_conv`.
"""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.conv_transpose import ConvTranspose as ConvTransposeKernel
from bevel.calib.formats.coded import narrowest
from bevel.passes.operators.base import Activation, Array, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import REQUANTIZE_TO_TYPE, function
from bevel.passes.operators.formats.wide_values import dtype_of, output_attributes
from bevel.passes.operators.geometry import edges, geometry, image_shape, two_dimensional
from bevel.passes.operators.lowering import Lowering, channels_last
from bevel.passes.operators.products.accumulate import ACCUMULATOR_LIMIT, sums_of_products
from bevel.passes.operators.products.wide_conv import PRODUCTS_OF_WINDOWS
from bevel.passes.operators.products.wide_sums import (
    ATTRIBUTES,
    BIAS_LIMIT,
    INPUTS,
    WIDEN,
    element_type,
    fixed_ratios,
    stored_output,
)

# Two numbers each, but pads; then what puts zeros between the pixels and around them, for a convolution of stride 1.
# There, 0 is x's batch.
WINDOWS = ("kernel_shape", "dilations")
SHAPES = ("positions", "apart", "gaps", "spread", "border", "matrices", "columns", "result")
GIVEN = "\n".join(f"  {name} = Constant <value_ints: ints = @{name}> ()" for name in (*WINDOWS, *SHAPES))
LOWERED = ("strides", "pads", "output_padding", "group")  # what the kernel is made of
BODY = f"""
{GIVEN}
{WIDEN}
  strides = Constant <value_ints = [1, 1]> ()
  pixels = Reshape (centered, apart)
  gapped = Pad (pixels, gaps)
  image = Reshape (gapped, spread)
  padded = Pad (image, border)
{PRODUCTS_OF_WINDOWS}
{REQUANTIZE_TO_TYPE}
"""


class WideConvTranspose(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by ConvTranspose
    integer_op: ClassVar = "WideConvTranspose"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        groups = int(site.node.attrs.get("group", 1))
        sums = sums_of_products(site, x, 1, groups, BIAS_LIMIT)
        if isinstance(sums, Reason):
            return sums
        ratios = fixed_ratios(sums)
        if isinstance(ratios, Reason):
            return ratios
        weights = turned(sums.weights.codes, groups)
        sum_dtype = "int32" if max(sums.largest) < ACCUMULATOR_LIMIT else "int64"
        per_channel = (-1, *[1] * (weights.ndim - 2))
        multiplier, shift = (one.reshape(per_channel) for one in ratios)
        inputs = [
            x.tensor,
            site.constant("weight", weights.astype(narrowest(weights))),
            site.constant("bias", sums.bias.astype(sum_dtype).reshape(per_channel)),
            site.constant("multiplier", multiplier),
            site.constant("shift", shift),
        ]
        attrs = attributes(site.node, tuple(x.tensor.shape), weights.shape, site.shape)
        attrs |= {"x_zero_point": x.zero_point, "sum_type": element_type(sum_dtype)}
        return site.call(self.integer_op, inputs, attrs | output_attributes(site.result))

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, (*WINDOWS, *SHAPES, *LOWERED, *ATTRIBUTES), INPUTS, BODY, opset)

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
            kernel=two_dimensional(attrs["kernel_shape"], 1),
            strides=two_dimensional(attrs["strides"], 1),
            dilations=two_dimensional(attrs["dilations"], 1),
            pads=edges(attrs["pads"]),
            output_padding=two_dimensional(attrs["output_padding"], 0),
            groups=int(attrs["group"]),
            x_zero_point=int(attrs["x_zero_point"]),
            output=stored_output(node),
            x_dtype=dtype_of(x),
            w_dtype=str(packed.dtype),
            sum_dtype=str(bias.dtype),
        )
        layout = channels_last(len(y.shape))
        constants = (packed, bias.ravel(), multiplier.ravel(), shift.ravel())
        lowering.emit(node, kernel, [lowering.read(x, layout)], constants, y, layout)


def attributes(node: gs.Node, x: tuple[int, ...], weights: tuple[int, ...], y: tuple[int, ...]) -> dict[str, Any]:
    """The geometry of a node, and the shapes that its spread image and its matrices have; `weights` are turned."""
    steps = geometry(node, len(weights) - 2)
    extra = [int(size) for size in node.attrs.get("output_padding", [0] * (len(weights) - 2))]
    kernel, strides, dilations = (
        two_dimensional(sizes, 1) for sizes in (list(weights[2:]), steps["strides"], steps["dilations"])
    )
    added = two_dimensional(extra, 0)
    top, left, bottom, right = borders(kernel, list(dilations), list(edges(steps["pads"])), list(added), list(strides))
    (_, channels, height, width), groups = image_shape(x), int(node.attrs.get("group", 1))
    taps = prod(weights[1:])
    return {
        "kernel_shape": list(kernel),
        "dilations": list(dilations),
        "positions": list(image_shape(y)[2:]),
        "apart": [0, channels, height, 1, width, 1],
        "gaps": [0] * 9 + [strides[0] - 1, 0, strides[1] - 1],
        "spread": [0, channels, height * strides[0], width * strides[1]],
        "border": [0, 0, top, left, 0, 0, bottom, right],
        "matrices": [groups, weights[0] // groups, taps],
        "columns": [0, groups, taps, prod(y[2:])],
        "result": [0, *y[1:]],
        "strides": steps["strides"],
        "pads": steps["pads"],
        "output_padding": extra,
        "group": groups,
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


def borders(
    window: tuple[int, ...], dilations: list[int], pads: list[int], extra: list[int], strides: list[int]
) -> list[int]:
    """Pads around the spread image, all begins then all ends; the gap behind the last pixel counts towards the end.

    Negative where more is cut off than the kernel reaches; ONNX's Pad crops then.
    """
    axes = range(len(window))
    reach = [dilations[axis] * (window[axis] - 1) for axis in axes]
    begin = [reach[axis] - pads[axis] for axis in axes]
    end = [reach[axis] - pads[axis + len(window)] + extra[axis] - (strides[axis] - 1) for axis in axes]
    return [*begin, *end]
