"""ConvTranspose with constant weights: a convolution of the input with zeros put between its pixels.

ONNX has no integer ConvTranspose. Putting stride - 1 pixels of value zx between the pixels, padding by dilation *
(kernel - 1) - pad, and convolving with the kernel turned by 180 degrees is the same sum (Dumoulin and Visin 2016, "A
guide to convolution arithmetic for deep learning", section 4.6), and each of these steps is a standard operator on
int8.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.conv_transpose import ConvTranspose as ConvTransposeKernel
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZED, constants, function
from bevel.passes.operators.geometry import edges, geometry, image_shape, two_dimensional
from bevel.passes.operators.lowering import Lowering, channels_last
from bevel.passes.operators.products.accumulate import accumulation, stored_bytes
from bevel.passes.operators.products.wide_conv_transpose import WideConvTranspose, borders, turned, upright

INPUTS = (
    "x",
    "w",
    "b",
    "multiplier",
    "shift",
    "apart_shape",
    "gaps",
    "spread_shape",
    "zero",
    "border",
)
ATTRIBUTES = ("strides", "dilations", "pads", "output_padding", "group", "x_zero_point")
SUMS = f"""
{constants("x_zero_point")}
  x_zero_point8 = Cast <to = 3> (x_zero_point)
  apart = Reshape (x, apart_shape)
  gapped = Pad (apart, gaps, zero)
  spread = Reshape (gapped, spread_shape)
  image = Pad (spread, border, zero)
  sums = ConvInteger <dilations: ints = @dilations, group: int = @group> (image, w, x_zero_point8)
  accumulator = Add (sums, b)
"""


class ConvTranspose(Operator):
    float_ops: ClassVar = frozenset({"ConvTranspose"})
    limits: ClassVar = "1-D, 2-D; constant weights"
    integer_op: ClassVar = "ConvTranspose"
    even: ClassVar = False
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "ConvTranspose":
            return None
        if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or "output_shape" in node.attrs:
            return Reason("auto_pad or output_shape was not resolved into pads")
        if len(node.inputs[0].shape) not in (3, 4):
            return Reason("only 1-D and 2-D transposed convolutions have an integer kernel")
        return Match(node, tuple(node.inputs))

    def weight_axis(self, match: Match, index: int) -> int | None:
        return 1 if index == 1 else None

    def bias_index(self, match: Match) -> int | None:
        return 2

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        groups = int(site.node.attrs.get("group", 1))
        sums = accumulation(site, x, channel_axis=1, groups=groups)
        if isinstance(sums, Reason):
            return WideConvTranspose().integerize(site)
        shape, window = tuple(x.tensor.shape), sums.weights.shape[2:]
        steps = geometry(site.node, len(window))
        extra = [int(v) for v in site.node.attrs.get("output_padding", [0] * len(window))]
        border = borders(window, steps["dilations"], steps["pads"], extra, steps["strides"])
        weight, *per_channel = sums.constants(site, trailing=len(window))
        weight.values = np.ascontiguousarray(turned(sums.weights, groups))
        inputs = [
            x.tensor,
            weight,
            *per_channel,
            *spread_constants(site, shape, steps["strides"], border, x.zero_point),
        ]
        attrs = steps | {"output_padding": extra, "group": groups, "x_zero_point": x.zero_point}
        op = EvenConvTranspose.integer_op if sums.even else self.integer_op
        return site.call(op, inputs, attrs | sums.stored(site))

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(
            self.integer_op, (*ATTRIBUTES, *OUTPUT_ATTRIBUTES), INPUTS, SUMS + REQUANTIZED[self.even], opset
        )

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        weights, bias, multiplier, shift = (lowering.constant(tensor) for tensor in node.inputs[1:5])
        batch, channels_in, height, width = image_shape(tuple(x.shape))
        packed = upright(weights)
        kernel = ConvTransposeKernel(
            batch=batch,
            height=height,
            width=width,
            channels_in=channels_in,
            channels_out=weights.shape[0],
            kernel=(packed.shape[1], packed.shape[2]),
            strides=two_dimensional(node.attrs["strides"], 1),
            dilations=two_dimensional(node.attrs["dilations"], 1),
            pads=edges(node.attrs["pads"]),
            output_padding=two_dimensional(node.attrs["output_padding"], 0),
            groups=int(node.attrs["group"]),
            x_zero_point=int(node.attrs["x_zero_point"]),
            output=stored_bytes(node, self.even),
        )
        layout = channels_last(weights.ndim)
        constants = (packed, bias.ravel(), multiplier.ravel(), shift.ravel())
        lowering.emit(node, kernel, [lowering.read(x, layout)], constants, y, layout)


class EvenConvTranspose(ConvTranspose):
    """ConvTranspose whose sums may lie on halves, which go to the even integer."""

    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by ConvTranspose
    integer_op: ClassVar = "EvenConvTranspose"
    even: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None


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
