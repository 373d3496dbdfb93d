"""AveragePool: the sum over the window by ConvInteger with ones, requantized with the window's size.

    y = requantize(sum(x - zx)),    ratio = sx / (sy * count)

`count` is the number of taps inside the image at each place, or the whole window where padding counts
(count_include_pad). Padded taps equal zx and add nothing either way.

ConvInteger takes 8-bit tensors only. Of wider integers, x - zx has three signed digits of base 256: u = x - zx + 128 *
(1 + 256 + 65536) has the same ones, each larger by 128. |x - zx| stays below 2**23 - 2**15, as the steps of formats do;
padded taps equal the digit 128 and add nothing. Their sums are put together in int64.
"""

from __future__ import annotations

from math import lcm, prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.average_pool import AveragePool as AveragePoolKernel
from bevel.calib.arithmetic.requantize import fixed_points
from bevel.passes.operators.base import Activation, Array, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE, constants
from bevel.passes.operators.formats.round_even import by_exact_sums
from bevel.passes.operators.geometry import edges, geometry, image_shape, two_dimensional, windowed
from bevel.passes.operators.lowering import Lowering, channels_last
from bevel.passes.operators.widths import dtype_of, output_attributes, rescaling, stored_output

ATTRIBUTES = ("strides", "pads", "x_zero_point", *OUTPUT_ATTRIBUTES)
INPUTS = ("x", "plane_shape", "ones", "sum_shape", "multiplier", "shift")
# Channels go into the batch, so that one window of ones serves all of them.
BODY = f"""
{constants("x_zero_point")}
  x_zero_point8 = Cast <to = 3> (x_zero_point)
  planes = Reshape (x, plane_shape)
  sums = ConvInteger <strides: ints = @strides, pads: ints = @pads> (planes, ones, x_zero_point8)
  accumulator = Reshape (sums, sum_shape)
{REQUANTIZE}
"""
AVERAGE_POOL = Function("AveragePool", ATTRIBUTES, INPUTS, BODY)

DIGIT = 256
DIGITS = 3
MIDDLE = 128
RAISE = MIDDLE * sum(DIGIT**place for place in range(DIGITS))
LARGEST = RAISE - DIGIT**2

# Channels and digits go into the batch, so that one window of ones serves all of them.
WIDE_BODY = f"""
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
{REQUANTIZE}
"""
WIDE_AVERAGE_POOL = Function("WideAveragePool", ATTRIBUTES, INPUTS, WIDE_BODY)


class AveragePool(Operator):
    float_ops: ClassVar = frozenset({"AveragePool"})
    limits: ClassVar = "1-D, 2-D; undilated"
    functions: ClassVar = (AVERAGE_POOL, WIDE_AVERAGE_POOL)
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "AveragePool":
            return None
        if any(step != 1 for step in node.attrs.get("dilations", [])):
            return Reason("dilated average pooling has no integer kernel")
        return windowed(node, "pooling has", ("ceil_mode", "auto_pad"))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, node = site.inputs[0], site.node
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        if site.wide and x.reach > LARGEST:
            return Reason(f"its input may reach {x.reach}, beyond three digits of eight bits")
        window, shape = [int(size) for size in node.attrs["kernel_shape"]], tuple(x.tensor.shape)
        steps = geometry(node, len(window))
        counts = taps(shape[2:], site.shape[2:], window, steps["strides"], steps["pads"])
        if node.attrs.get("count_include_pad", 0):
            counts = np.full_like(counts, prod(window))
        common = lcm(*np.unique(counts).tolist())
        reach = x.reach * prod(window) * common // int(counts.min())
        exact = by_exact_sums(site, x.scale / common, reach, self.integerize)
        if exact is not None:
            return exact
        ratios = x.scale / (site.scale * counts)
        found = rescaling(ratios, prod(window) * x.reach) if site.wide else fixed_points(ratios)
        if isinstance(found, Reason):
            return found
        made, dtype, digits = (WIDE_AVERAGE_POOL, np.uint8, DIGITS) if site.wide else (AVERAGE_POOL, np.int8, 1)
        inputs = [
            x.tensor,
            site.constant("plane_shape", np.array([digits * shape[0] * shape[1], 1, *shape[2:]], np.int64)),
            site.constant("ones", np.ones((1, 1, *window), dtype)),
            site.constant("sum_shape", np.array(site.shape, np.int64)),
            site.constant("multiplier", found[0]),
            site.constant("shift", found[1]),
        ]
        attrs = {"strides": steps["strides"], "pads": steps["pads"], "x_zero_point": x.zero_point}
        return site.call(made, inputs, attrs | output_attributes(site.result))

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        batch, channels, height, width = image_shape(tuple(x.shape))
        kernel = AveragePoolKernel(
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


def taps(
    image: tuple[int, ...], places: tuple[int, ...], window: list[int], strides: list[int], pads: list[int]
) -> Array:
    """How many taps of the window lie inside the image at each place, shaped like `places`."""
    counts = np.ones((), np.int64)
    for axis, size in enumerate(image):
        first = np.arange(places[axis]) * strides[axis] - pads[axis]
        inside = np.minimum(first + window[axis], size) - np.maximum(first, 0)
        counts = counts[..., None] * inside
    return counts
