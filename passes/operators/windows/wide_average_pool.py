"""AveragePool where x or the result is wider than int8: digits of x by ConvInteger with ones, requantized in int64.

x - zx has three signed digits of base 256: u = x - zx + 128 * (1 + 256 + 65536) has the same ones, each larger by 128.
|x - zx| stays below 2**23 - 2**15, as the steps of formats do; padded taps equal the digit 128 and add nothing.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.wide_average_pool import WideAveragePool as WideAveragePoolKernel
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE_TO_TYPE, constants, function
from bevel.passes.operators.formats.wide_values import dtype_of, output_attributes, rescaling
from bevel.passes.operators.geometry import edges, geometry, image_shape, two_dimensional
from bevel.passes.operators.lowering import Lowering, channels_last
from bevel.passes.operators.products.wide_sums import stored_output
from bevel.passes.operators.windows.window_taps import taps

DIGIT = 256
DIGITS = 3
MIDDLE = 128
RAISE = MIDDLE * sum(DIGIT**place for place in range(DIGITS))
LARGEST = RAISE - DIGIT**2

# Channels and digits go into the batch, so that one window of ones serves all of them.
BODY = f"""
{constants("x_zero_point")}
  raise_digits = Constant <value_int = {RAISE}> ()
  base = Constant <value_int = {DIGIT}> ()
  digit_weights = Constant <value = int64[{DIGITS}, 1] {{{", ".join(str(DIGIT**place) for place in range(DIGITS))}}}> ()
  first_axis = Constant <value_ints = [0]> ()
  flat = Constant <value_ints = [{DIGITS}, -1]> ()
  middle = Constant <value = uint8 {{{MIDDLE}}}> ()
  x64 = Cast <to = 7> (x)
  centred = Sub (x64, x_zero_point)
  raised_x = Add (centred, raise_digits)
  upper = Div (raised_x, base)
  digit2 = Div (upper, base)
  digit1 = Mod (upper, base)
  digit0 = Mod (raised_x, base)
  digits = Concat <axis = 0> (digit0, digit1, digit2)
  digits8 = Cast <to = 2> (digits)
  planes = Reshape (digits8, plane_shape)
  sums = ConvInteger <strides: ints = @strides, pads: ints = @pads> (planes, ones, middle)
  sums64 = Cast <to = 7> (sums)
  by_digit = Reshape (sums64, flat)
  weighted = Mul (by_digit, digit_weights)
  totals = ReduceSum <keepdims = 0> (weighted, first_axis)
  accumulator = Reshape (totals, sum_shape)
{REQUANTIZE_TO_TYPE}
"""
INPUTS = ("x", "plane_shape", "ones", "sum_shape", "multiplier", "shift")


class WideAveragePool(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by AveragePool
    integer_op: ClassVar = "WideAveragePool"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        if x.reach > LARGEST:
            return Reason(f"its input may reach {x.reach}, beyond three digits of eight bits")
        node, shape = site.node, tuple(x.tensor.shape)
        window = [int(size) for size in node.attrs["kernel_shape"]]
        steps = geometry(node, len(window))
        counts = taps(shape[2:], site.shape[2:], window, steps["strides"], steps["pads"])
        if node.attrs.get("count_include_pad", 0):
            counts = np.full_like(counts, prod(window))
        found = rescaling(x.scale / (site.scale * counts), prod(window) * x.reach)
        if isinstance(found, Reason):
            return found
        attrs = {"strides": steps["strides"], "pads": steps["pads"], "x_zero_point": x.zero_point}
        inputs = [
            x.tensor,
            site.constant("plane_shape", np.array([DIGITS * shape[0] * shape[1], 1, *shape[2:]], np.int64)),
            site.constant("ones", np.ones((1, 1, *window), np.uint8)),
            site.constant("sum_shape", np.array(site.shape, np.int64)),
            site.constant("multiplier", found[0]),
            site.constant("shift", found[1]),
        ]
        return site.call(self.integer_op, inputs, attrs | output_attributes(site.result))

    def function(self, opset: int) -> onnx.FunctionProto:
        attributes = ("strides", "pads", "x_zero_point", *OUTPUT_ATTRIBUTES, "y_type")
        return function(self.integer_op, attributes, INPUTS, BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        batch, channels, height, width = image_shape(tuple(x.shape))
        kernel = WideAveragePoolKernel(
            batch=batch,
            height=height,
            width=width,
            channels=channels,
            kernel=two_dimensional(list(lowering.constant(node.inputs[2]).shape[2:]), 1),
            strides=two_dimensional(node.attrs["strides"], 1),
            pads=edges(node.attrs["pads"]),
            x_zero_point=node.attrs["x_zero_point"],
            output=stored_output(node),
            x_dtype=dtype_of(x),
        )
        layout = channels_last(len(y.shape))
        places = image_shape(tuple(y.shape))[2:]
        ratios = [lowering.constant(tensor).reshape(places) for tensor in node.inputs[4:6]]
        lowering.emit(node, kernel, [lowering.read(x, layout)], ratios, y, layout)
