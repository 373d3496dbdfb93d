"""Resize, nearest of any rank and bilinear of images; input and output share their quantization.

Nearest copies integers, so ONNX's own Resize on int8 is the definition; onnxruntime has none of int16, where lines and
then pixels are gathered. Bilinear is separable: y = R x C with one row of weights for each output line, kept as
integers in 2**-11 (of int16 in 2**-15, with sums in int64) that sum to 1, and one rounding at the end. In models that
came with scales that are powers of two, or with another one for the result, ties go to the even integer, as there.
"""

from __future__ import annotations

from dataclasses import replace
from math import frexp
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.resize_bilinear import MAX_BITS, EvenRescaling, ResizeBilinear
from bevel.backends.program.ops.resize_nearest import ResizeNearest
from bevel.calib.arithmetic.requantize import fixed_point
from bevel.passes.operators.base import Activation, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, ROUNDING_SHIFT, STORE, constants
from bevel.passes.operators.formats.round_even import ROUNDED
from bevel.passes.operators.functions import softmax
from bevel.passes.operators.lowering import Lowering, channels_last
from bevel.passes.operators.moves.gather import gathers, lower_gather
from bevel.passes.operators.widths import dtype_of, output_attributes, stored_output
from bevel.passes.operators.windows.resized_lines import (
    axis_weights,
    integer_weights,
    nearest_index,
    resized_axes,
    resizes_images,
    taps,
)

INPUTS = ("x", "rows", "columns")
NEAREST = """
  lines = Gather <axis = 2> (x, rows)
  y = Gather <axis = 3> (lines, columns)
"""
WIDE_NEAREST = Function("WideResizeNearest", (), INPUTS, NEAREST)

BYTES = f"""
  x32 = Cast <to = 6> (x)
  lines = MatMul (rows, x32)
  sums = MatMul (lines, columns)
  product = Cast <to = 7> (sums)
  shift = Constant <value_int = {2 * MAX_BITS["int8"]}> ()
{ROUNDING_SHIFT}
{STORE}
"""

BILINEAR = Function("ResizeBilinear", OUTPUT_ATTRIBUTES, INPUTS, BYTES)

EVEN = f"""
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
EVEN_BILINEAR = Function("EvenResizeBilinear", (*RESCALING, *OUTPUT_ATTRIBUTES), INPUTS, EVEN)

WIDE = f"""
  x64 = Cast <to = 7> (x)
  rows64 = Cast <to = 7> (rows)
  columns64 = Cast <to = 7> (columns)
  lines = MatMul (rows64, x64)
  product = MatMul (lines, columns64)
  shift = Constant <value_int = {2 * MAX_BITS["int16"]}> ()
{ROUNDING_SHIFT}
{STORE}
"""
WIDE_BILINEAR = Function("WideResizeBilinear", OUTPUT_ATTRIBUTES, INPUTS, WIDE)


class Resize(Operator):
    float_ops: ClassVar = frozenset({"Resize"})
    limits: ClassVar = "nearest, linear; without antialiasing, tf_crop_and_resize and kept aspect ratios"
    functions: ClassVar = (WIDE_NEAREST, BILINEAR, EVEN_BILINEAR, WIDE_BILINEAR)
    standard: ClassVar = frozenset({"Resize"})
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
        return nearest(site, x) if site.node.attrs.get("mode", "nearest") == "nearest" else bilinear(site, x)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        if node.op in (BILINEAR.name, EVEN_BILINEAR.name, WIDE_BILINEAR.name):
            lower_bilinear(node, lowering)
            return
        if not resizes_images(node):
            lower_gather(node, {axis: nearest_index(node, axis) for axis in resized_axes(node)}, lowering)
            return
        layout = channels_last(4)
        (batch, channels, height, width), (out_height, out_width) = x.shape, y.shape[2:]
        kernel = ResizeNearest(batch, height, width, channels, out_height, out_width, dtype_of(x))
        if node.op == WIDE_NEAREST.name:
            lines = [lowering.constant(tensor) for tensor in node.inputs[1:]]
        else:
            lines = [nearest_index(node, axis) for axis in (2, 3)]
        lowering.emit(node, kernel, [lowering.read(x, layout)], lines, y, layout)


def nearest(site: Site, x: Activation) -> list[gs.Node]:
    if not site.wide:
        return site.standard([x.tensor, *site.node.inputs[1:]])
    axes = (2, 3) if resizes_images(site.node) else resized_axes(site.node)
    lines = {axis: nearest_index(site.node, axis) for axis in axes}
    if not resizes_images(site.node):
        return gathers(site, x.tensor, lines)
    chosen = [site.constant(role, one.astype(np.int32)) for role, one in zip(INPUTS[1:], lines.values(), strict=True)]
    return site.call(WIDE_NEAREST, [x.tensor, *chosen], {})


def bilinear(site: Site, x: Activation) -> list[gs.Node] | Reason:
    bits = MAX_BITS[site.result.dtype]
    rows, columns = (integer_weights(axis_weights(site.node, axis), bits) for axis in (2, 3))
    if rows is None or columns is None:
        return Reason("it reads more than two pixels along an axis")
    inputs = [x.tensor, site.constant("rows", rows), site.constant("columns", columns.T)]
    ratio = fixed_ratio(site)
    if ratio is not None:
        numbers = dict(zip(RESCALING, (x.zero_point, *ratio, x.reach << 2 * bits), strict=True))
        return site.call(EVEN_BILINEAR, inputs, numbers | output_attributes(site.result))
    made = WIDE_BILINEAR if site.wide else BILINEAR
    return site.call(made, inputs, output_attributes(replace(site.result, zero_point=0)))


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


def lower_bilinear(node: gs.Node, lowering: Lowering) -> None:
    """The call of a resizing by weights of lines and of pixels, whichever type its image has."""
    x, y = node.inputs[0], node.outputs[0]
    layout = channels_last(4)
    (batch, channels, height, width), (out_height, out_width) = x.shape, y.shape[2:]
    output, even = stored_output(node), node.op == EVEN_BILINEAR.name
    rescaling = EvenRescaling(*(int(node.attrs[name]) for name in RESCALING)) if even else None
    sizes = (batch, height, width, channels, out_height, out_width)
    kernel = ResizeBilinear(*sizes, MAX_BITS[output.dtype], output, rescaling)
    rows, row_weights = taps(lowering.constant(node.inputs[1]))
    columns, column_weights = taps(lowering.constant(node.inputs[2]).T)
    constants = (rows, row_weights, columns, column_weights)
    lowering.emit(node, kernel, [lowering.read(x, layout)], constants, y, layout)
