"""AveragePool: the sum over the window by ConvInteger with ones, requantized with the window's size.

    y = requantize(sum(x - zx)),    ratio = sx / (sy * count)

`count` is the number of taps inside the image at each place, or the whole window where padding counts
(count_include_pad). Padded taps equal zx and add nothing either way.
"""

from __future__ import annotations

from math import lcm, prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.average_pool import AveragePool as AveragePoolKernel
from bevel.calib.arithmetic.requantize import Output, fixed_points
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE, constants, function
from bevel.passes.operators.formats.round_even import exact_sums, round_even
from bevel.passes.operators.geometry import edges, geometry, image_shape, two_dimensional
from bevel.passes.operators.lowering import Lowering, channels_last
from bevel.passes.operators.windows.wide_average_pool import WideAveragePool
from bevel.passes.operators.windows.window_taps import taps

# Channels go into the batch, so that one window of ones serves all of them.
BODY = f"""
{constants("x_zero_point")}
  x_zero_point8 = Cast <to = 3> (x_zero_point)
  planes = Reshape (x, plane_shape)
  sums = ConvInteger <strides: ints = @strides, pads: ints = @pads> (planes, ones, x_zero_point8)
  accumulator = Reshape (sums, sum_shape)
{REQUANTIZE}
"""
INPUTS = ("x", "plane_shape", "ones", "sum_shape", "multiplier", "shift")


class AveragePool(Operator):
    float_ops: ClassVar = frozenset({"AveragePool"})
    limits: ClassVar = "1-D, 2-D; undilated"
    integer_op: ClassVar = "AveragePool"
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "AveragePool":
            return None
        if node.attrs.get("ceil_mode", 0) or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return Reason("ceil_mode or auto_pad was not resolved into pads")
        if any(step != 1 for step in node.attrs.get("dilations", [])):
            return Reason("dilated average pooling has no integer kernel")
        if len(node.inputs[0].shape) not in (3, 4):
            return Reason("only 1-D and 2-D pooling has an integer kernel")
        return Match(node, tuple(node.inputs))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        if site.wide:
            return WideAveragePool().integerize(site)
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        node, shape = site.node, tuple(x.tensor.shape)
        window = [int(size) for size in node.attrs["kernel_shape"]]
        steps = geometry(node, len(window))
        counts = taps(shape[2:], site.shape[2:], window, steps["strides"], steps["pads"])
        if node.attrs.get("count_include_pad", 0):
            counts = np.full_like(counts, prod(window))
        common = lcm(*np.unique(counts).tolist())
        reach = x.reach * prod(window) * common // int(counts.min())
        sums = exact_sums(site, x.scale / common, reach)
        if sums is not None:
            nodes = WideAveragePool().integerize(sums)
            return nodes if isinstance(nodes, Reason) else [*nodes, round_even(site, sums, reach)]
        multiplier, shift = fixed_points(x.scale / (site.scale * counts))
        attrs = {
            "strides": steps["strides"],
            "pads": steps["pads"],
            "x_zero_point": x.zero_point,
            "zero_point": site.result.zero_point,
            "low": site.result.low,
            "high": site.result.high,
        }
        inputs = [
            x.tensor,
            site.constant("plane_shape", np.array([shape[0] * shape[1], 1, *shape[2:]], np.int64)),
            site.constant("ones", np.ones((1, 1, *window), np.int8)),
            site.constant("sum_shape", np.array(site.shape, np.int64)),
            site.constant("multiplier", multiplier),
            site.constant("shift", shift),
        ]
        return site.call(self.integer_op, inputs, attrs)

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, ("strides", "pads", "x_zero_point", *OUTPUT_ATTRIBUTES), INPUTS, BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        batch, channels, height, width = image_shape(tuple(x.shape))
        window = list(lowering.constant(node.inputs[2]).shape[2:])
        kernel = AveragePoolKernel(
            batch=batch,
            height=height,
            width=width,
            channels=channels,
            kernel=two_dimensional(window, 1),
            strides=two_dimensional(node.attrs["strides"], 1),
            pads=edges(node.attrs["pads"]),
            x_zero_point=node.attrs["x_zero_point"],
            output=Output(node.attrs["zero_point"], node.attrs["low"], node.attrs["high"]),
        )
        layout = channels_last(len(y.shape))
        places = image_shape(tuple(y.shape))[2:]
        ratios = [lowering.constant(tensor).reshape(places) for tensor in node.inputs[4:6]]
        lowering.emit(node, kernel, [lowering.read(x, layout)], ratios, y, layout)
