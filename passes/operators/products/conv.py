"""Convolution with constant weights, 1-D and 2-D, any group: ConvInteger, bias, requantize per output channel.

    y = requantize(sum((x - zx) * w) + b)

The zero point of x is folded into the bias for the kernel: sum((x - zx) * w) + b == sum(x * w) + (b - zx * sum(w)),
with padding equal to zx (Jacob et al. 2018, section 2.3).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.conv import Conv as ConvKernel
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZED, constants, function
from bevel.passes.operators.geometry import edges, geometry, image_shape, two_dimensional
from bevel.passes.operators.lowering import Lowering, channels_last
from bevel.passes.operators.products.accumulate import accumulation, stored_bytes
from bevel.passes.operators.products.wide_conv import WideConv
from bevel.passes.operators.products.wide_sums import shorter_in_blocks

GEOMETRY = ("kernel_shape", "strides", "dilations", "pads")
GIVEN = ", ".join(f"{name}: ints = @{name}" for name in GEOMETRY)
SUMS = f"""
{constants("x_zero_point")}
  x_zero_point8 = Cast <to = 3> (x_zero_point)
  sums = ConvInteger <{GIVEN}, group: int = @group> (x, w, x_zero_point8)
  accumulator = Add (sums, b)
"""


class Conv(Operator):
    float_ops: ClassVar = frozenset({"Conv"})
    limits: ClassVar = "1-D, 2-D; constant weights"
    integer_op: ClassVar = "Conv"
    even: ClassVar = False
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "Conv":
            return None
        if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return Reason("auto_pad was not resolved into pads")
        if len(node.inputs[0].shape) not in (3, 4):
            return Reason("only 1-D and 2-D convolutions have an integer kernel")
        return Match(node, tuple(node.inputs))

    def weight_axis(self, match: Match, index: int) -> int | None:
        return 0 if index == 1 else None

    def bias_index(self, match: Match) -> int | None:
        return 2

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        match site.inputs:
            case [Activation() as x, *_]:
                pass
            case _:
                return Reason("its input is not quantized")
        sums = accumulation(site, x, channel_axis=0)
        if isinstance(sums, Reason) or shorter_in_blocks(site.inputs[1], summed_axis=1):
            return WideConv().integerize(site)
        spatial = len(site.shape) - 2
        attrs = geometry(site.node, spatial) | {
            "kernel_shape": list(sums.weights.shape[2:]),
            "group": int(site.node.attrs.get("group", 1)),
            "x_zero_point": x.zero_point,
        }
        op = EvenConv.integer_op if sums.even else self.integer_op
        return site.call(op, [x.tensor, *sums.constants(site, trailing=spatial)], attrs | sums.stored(site))

    def function(self, opset: int) -> onnx.FunctionProto:
        attributes = (*GEOMETRY, "group", "x_zero_point", *OUTPUT_ATTRIBUTES)
        return function(
            self.integer_op, attributes, ("x", "w", "b", "multiplier", "shift"), SUMS + REQUANTIZED[self.even], opset
        )

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        weights, bias, multiplier, shift = (lowering.constant(tensor) for tensor in node.inputs[1:5])
        batch, channels_in, height, width = image_shape(tuple(x.shape))
        zero_point = int(node.attrs["x_zero_point"])
        # [out, in / groups, kh, kw] to [out, kh, kw, in / groups]
        packed = np.moveaxis(weights.reshape(*weights.shape[:2], *two_dimensional(list(weights.shape[2:]), 1)), 1, -1)
        folded = bias.ravel().astype(np.int64) - zero_point * packed.astype(np.int64).sum(axis=(1, 2, 3))
        kernel = ConvKernel(
            batch=batch,
            height=height,
            width=width,
            channels_in=channels_in,
            channels_out=weights.shape[0],
            kernel=(packed.shape[1], packed.shape[2]),
            strides=two_dimensional(node.attrs["strides"], 1),
            dilations=two_dimensional(node.attrs["dilations"], 1),
            pads=edges(node.attrs["pads"]),
            groups=int(node.attrs["group"]),
            x_zero_point=zero_point,
            output=stored_bytes(node, self.even),
        )
        layout = channels_last(len(y.shape))
        constants = (packed, folded.astype(np.int32), multiplier.ravel(), shift.ravel())
        lowering.emit(node, kernel, [lowering.read(x, layout)], constants, y, layout)


class EvenConv(Conv):
    """Conv whose sums may lie on halves, which go to the even integer."""

    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by Conv
    integer_op: ClassVar = "EvenConv"
    even: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None
