"""Resize, nearest of any rank and bilinear of images; input and output share their quantization.

Nearest copies integers, so ONNX's own Resize on int8 is the definition. Bilinear is separable: y = R x C with one row
of weights for each output line, kept as integers in 2**-11 (of int16 in 2**-15) that sum to 1, and one rounding at the
end. In models that came with scales that are powers of two, or with another one for the result, ties go to the even
integer, as there. Where each output line reads, and with which weights, is asked of onnxruntime's Resize itself (on
indices, and on unit impulses), so every coordinate transformation mode means what it means there.
"""

from __future__ import annotations

from dataclasses import replace
from math import frexp
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort

from bevel.backends.program.ops.resize_bilinear import MAX_BITS, Rescaling
from bevel.backends.program.ops.resize_nearest import ResizeNearest
from bevel.calib.arithmetic.requantize import Output, fixed_point
from bevel.passes.operators.base import Activation, Array, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, ROUNDING_SHIFT, STORE, constants, function
from bevel.passes.operators.formats.round_even import ROUNDED
from bevel.passes.operators.formats.wide_values import output_attributes
from bevel.passes.operators.functions import softmax
from bevel.passes.operators.lowering import Lowering, channels_last
from bevel.passes.operators.moves.gather import gathers, lower_gather
from bevel.passes.operators.windows.wide_resize import WideResizeBilinear, lower_bilinear, wide_nearest

BODY = f"""
  x32 = Cast <to = 6> (x)
  lines = MatMul (rows, x32)
  sums = MatMul (lines, columns)
  product = Cast <to = 7> (sums)
  shift = Constant <value_int = {2 * MAX_BITS["int8"]}> ()
{ROUNDING_SHIFT}
{STORE}
"""

EVEN_BODY = f"""
{constants("x_zero_point")}
  x64 = Cast <to = 7> (x)
  steps = Sub (x64, x_zero_point)
  steps32 = Cast <to = 6> (steps)
  lines = MatMul (rows, steps32)
  sums = MatMul (lines, columns)
  sums64 = Cast <to = 7> (sums)
{ROUNDED.replace("x64", "sums64")}
{STORE}
"""
RESCALING = ("x_zero_point", "multiplier", "shift", "tolerance")


class Resize(Operator):
    float_ops: ClassVar = frozenset({"Resize"})
    limits: ClassVar = "nearest, linear; without antialiasing, tf_crop_and_resize and kept aspect ratios"
    integer_op: ClassVar = "Resize"
    also_lowers: ClassVar = frozenset({"ResizeBilinear"})
    ties: ClassVar = True
    wide_codes: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "Resize":
            return None
        x, y, mode = node.inputs[0].shape, node.outputs[0].shape, node.attrs.get("mode", "nearest")
        if mode not in ("nearest", "linear"):
            return Reason(f"it interpolates in mode {mode}; nearest and linear have integer kernels")
        if node.attrs.get("antialias", 0):
            return Reason("it antialiases; resizing without has integer kernels")
        if mode == "linear" and not resizes_images(node):
            return Reason(
                f"it resizes {list(x)} to {list(y)}: more than the last two axes, with a crop or an aspect ratio"
            )
        if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
            return Reason("resizing that extrapolates beyond the image has no integer kernel")
        if not all(isinstance(tensor, gs.Constant) or tensor.is_empty() for tensor in node.inputs[1:]):
            return Reason("its size is computed")
        return Match(node, tuple(node.inputs[:1]))

    def moves(self, match: Match) -> bool:
        return bool(match.node.attrs.get("mode", "nearest") == "nearest")

    def requantizes(self, site: Site) -> bool:
        linear = site.node.attrs.get("mode", "nearest") == "linear"
        return linear and not site.wide and fixed_ratio(site) is not None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        if not site.keeps_quantization() and not self.requantizes(site):
            return Reason("its input and output are quantized differently")
        if site.node.attrs.get("mode", "nearest") == "nearest":
            if site.wide and resizes_images(site.node):
                return wide_nearest(site, x.tensor, *(nearest_index(site.node, axis) for axis in (2, 3)))
            if site.wide:
                return gathers(
                    site, x.tensor, {axis: nearest_index(site.node, axis) for axis in resized_axes(site.node)}
                )
            return site.standard([x.tensor, *site.node.inputs[1:]])
        bits = MAX_BITS[site.result.dtype]
        rows, columns = (integer_weights(axis_weights(site.node, axis), bits) for axis in (2, 3))
        if rows is None or columns is None:
            return Reason("it reads more than two pixels along an axis")
        inputs = [x.tensor, site.constant("rows", rows), site.constant("columns", columns.T)]
        if site.wide:
            attrs = output_attributes(replace(site.result, zero_point=0))
            return site.call(WideResizeBilinear.integer_op, inputs, attrs)
        attrs = {"zero_point": site.result.zero_point, "low": site.result.low, "high": site.result.high}
        ratio = fixed_ratio(site)
        if ratio is not None:
            numbers = (x.zero_point, *ratio, x.reach << 2 * bits)
            return site.call("EvenResizeBilinear", inputs, attrs | dict(zip(RESCALING, numbers, strict=True)))
        return site.call("ResizeBilinear", inputs, attrs | {"zero_point": 0})

    def function(self, opset: int) -> onnx.FunctionProto:
        return function("ResizeBilinear", OUTPUT_ATTRIBUTES, ("x", "rows", "columns"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        if node.op == "ResizeBilinear":
            lower_bilinear(node, lowering, Output(node.attrs["zero_point"], node.attrs["low"], node.attrs["high"]))
            return
        x, y = node.inputs[0], node.outputs[0]
        if not resizes_images(node):
            lower_gather(node, {axis: nearest_index(node, axis) for axis in resized_axes(node)}, lowering)
            return
        layout = channels_last(4)
        (batch, channels, height, width), (out_height, out_width) = x.shape, y.shape[2:]
        kernel = ResizeNearest(batch, height, width, channels, out_height, out_width)
        constants = [nearest_index(node, axis).astype(np.int32) for axis in (2, 3)]
        lowering.emit(node, kernel, [lowering.read(x, layout)], constants, y, layout)


class EvenResizeBilinear(Operator):
    """Bilinear Resize whose result has a scale of its own, or lies on halves, which go to the even integer."""

    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by Resize
    integer_op: ClassVar = "EvenResizeBilinear"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        return Reason("it is made of a Resize")

    def function(self, opset: int) -> onnx.FunctionProto:
        attributes = (*RESCALING, *OUTPUT_ATTRIBUTES)
        return function(self.integer_op, attributes, ("x", "rows", "columns"), EVEN_BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        rescaling = Rescaling(*(int(node.attrs[name]) for name in RESCALING))
        output = Output(node.attrs["zero_point"], node.attrs["low"], node.attrs["high"])
        lower_bilinear(node, lowering, output, rescaling)


def fixed_ratio(site: Site) -> tuple[int, int] | None:
    """Multiplier and shift of the sums of a bilinear Resize of int8; None where they are rounded as they are: half up,
    where input and output share a scale that is not known to come with the model. Ours are powers of two by accident
    only, but for that of Softmax."""
    x = site.inputs[0]
    if not isinstance(x, Activation) or site.wide:
        return None
    ours = frexp(x.scale)[0] != 0.5 or (x.scale, x.zero_point) == (softmax.SCALE, softmax.ZERO_POINT)
    if site.keeps_quantization() and ours:
        return None
    return fixed_point(x.scale / site.scale / 2 ** (2 * MAX_BITS["int8"]))


def resizes_images(node: gs.Node) -> bool:
    """Whether only the last two of four axes change."""
    x, y = node.inputs[0].shape, node.outputs[0].shape
    return len(x) == 4 and list(x[:2]) == list(y[:2])


def resized_axes(node: gs.Node) -> list[int]:
    """Those whose size changes, or the last, so that there is one."""
    sizes = list(zip(node.inputs[0].shape, node.outputs[0].shape, strict=True))
    return [axis for axis, (old, new) in enumerate(sizes) if old != new] or [len(sizes) - 1]


def resized(node: gs.Node, values: Array) -> Array:
    """onnxruntime's Resize of `values`, shaped as the node's input."""
    x = gs.Variable("x", values.dtype, [*node.inputs[0].shape])
    y = gs.Variable("y", values.dtype)
    graph = gs.Graph(
        [gs.Node("Resize", "resize", dict(node.attrs), [x, *node.inputs[1:]], [y])], [x], [y], opset=19, ir_version=10
    )
    session = ort.InferenceSession(gs.export_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {"x": np.ascontiguousarray(values)})[0]
    return result


def along(axis: int, rank: int) -> tuple[int | slice, ...]:
    """The first line along `axis`."""
    return tuple(slice(None) if place == axis else 0 for place in range(rank))


def nearest_index(node: gs.Node, axis: int) -> Array:
    """Which input line each output line copies."""
    shape = tuple(node.inputs[0].shape)
    ramp = np.arange(shape[axis], dtype=np.int32).reshape([-1 if place == axis else 1 for place in range(len(shape))])
    result: Array = resized(node, np.broadcast_to(ramp, shape))[along(axis, len(shape))]
    return result


def axis_weights(node: gs.Node, axis: int) -> Array:
    """[out, in]: how much each input line counts in each output line."""
    shape = tuple(node.inputs[0].shape)
    columns = []
    for line in range(shape[axis]):
        impulse = np.zeros(shape, np.float32)
        impulse[(..., line, slice(None)) if axis == 2 else (..., line)] = 1
        columns.append(resized(node, impulse)[along(axis, len(shape))])
    return np.stack(columns, axis=1)


def integer_weights(weights: Array, bits: int) -> Array | None:
    """The weights in 2**-bits, each row summing to 2**bits exactly; None if a row has more than two."""
    if (np.count_nonzero(weights, axis=1) > 2).any() or not np.allclose(weights.sum(axis=1), 1, atol=1e-4):
        return None
    codes: Array = np.rint(weights * 2**bits).astype(np.int32)
    rows = np.arange(len(codes))
    codes[rows, codes.argmax(axis=1)] += 2**bits - codes.sum(axis=1)
    return codes
