"""Pad with a constant: the integer of that constant around the same integers. Modes that repeat elements
(reflect, edge, wrap) pick them. onnxruntime pads no int16; int32 holds both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.pad import Pad as PadKernel
from bevel.passes.operators.base import Activation, Array, Function, Match, Operator, Reason, Site
from bevel.passes.operators.functions.table import on_scale, quantized
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.moves.gather import gathers, lower_gather
from bevel.passes.operators.widths import dtype_of, element_type

BODY = """
  x32 = Cast <to = 6> (x)
  value32 = Cast <to = 6> (value)
  padded = Pad (x32, pads, value32)
  y = Cast <to: int = @y_type> (padded)
"""
WIDE_PAD = Function("WidePad", ("y_type",), ("x", "pads", "value"), BODY)


class Pad(Operator):
    float_ops: ClassVar = frozenset({"Pad"})
    limits: ClassVar = "constant widths; constant, reflect, edge, wrap"
    functions: ClassVar = (WIDE_PAD,)
    standard: ClassVar = frozenset({"Pad"})
    ties: ClassVar = True
    rescales: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "Pad":
            return None
        if not all(isinstance(tensor, gs.Constant) or tensor.is_empty() for tensor in node.inputs[1:]):
            return Reason("its widths or its value are computed")
        if any(int(width) < 0 for width in np.ravel(node.inputs[1].values)):
            return Reason("it pads and crops at once, which no canonical Pad does")
        if (wide := wider_than_it_repeats(node)) is not None:
            return Reason(f"in mode {node.attrs['mode']} it pads axis {wide} by more elements than that holds")
        return Match(node, tuple(node.inputs[:1]))

    def moves(self, match: Match) -> bool:
        return repeats(match.node) or padding_value(match.node) == 0.0

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        found = on_scale(site.name, x, site.scale, site.result)
        if isinstance(found, Reason):
            return found
        tensor, nodes = found
        return [*nodes, *pad_integers(site, tensor)]

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        if repeats(node):
            lower_gather(node, picked(node, lowering.value(node.inputs[0]).shape), lowering)
        else:
            lower_pad(node, lowering)


def pad_integers(site: Site, x: gs.Tensor) -> list[gs.Node]:
    """The Pad of integers that mean what those of the result mean."""
    given = site.node.inputs
    if repeats(site.node):
        if site.wide:
            return gathers(site, x, picked(site.node, x.shape))
        return site.standard([x, given[1], gs.Variable.empty(), *given[3:4]])
    value = site.constant("value", padding_of(site))
    if not site.wide:
        return site.standard([x, given[1], value, *given[3:4]])
    # Of all axes: onnxruntime's transpose optimizer overlooks the axes of a Pad.
    before, after = pads_of(site.node, len(x.shape))
    widths = site.constant("pads", np.array([*before, *after], np.int64))
    return site.call(WIDE_PAD, [x, widths, value], {"y_type": element_type(site.result.dtype)})


def padding_of(site: Site) -> Array:
    """The integer that the padding holds."""
    value = padding_value(site.node)
    if not site.wide:
        return quantized(np.array(value), site.scale, site.result)
    units = np.array(value / site.scale)
    rounded = np.rint(units) if site.steps is None else site.steps.round_float(units.astype(np.float32))
    return site.result.store(np.clip(rounded, -(2.0**31), 2.0**31).astype(np.int64))


def repeats(node: gs.Node) -> bool:
    return bool(node.attrs.get("mode", "constant") != "constant")


def wider_than_it_repeats(node: gs.Node) -> int | None:
    """The first axis of which a Pad that repeats elements needs more than there are, where runtimes disagree."""
    shape = node.inputs[0].shape
    spare = 1 if node.attrs.get("mode") == "reflect" else 0
    if node.attrs.get("mode") in ("reflect", "wrap"):
        for axis, widths in enumerate(zip(*pads_of(node, len(shape)), strict=True)):
            if max(widths) > shape[axis] - spare:
                return axis
    return None


def picked(node: gs.Node, shape: Sequence[int]) -> dict[int, Array]:
    """For each axis that grows, the elements that its own repeat, by their indices."""
    widths = zip(*pads_of(node, len(shape)), strict=True)
    mode = node.attrs["mode"]
    return {axis: np.pad(np.arange(shape[axis]), width, mode=mode) for axis, width in enumerate(widths) if any(width)}


def lower_pad(node: gs.Node, lowering: Lowering) -> None:
    value = lowering.value(node.inputs[0])
    before, after = pads_of(node, len(value.shape))
    kernel = PadKernel(
        shape=value.stored,
        pads_before=tuple(before[axis] for axis in value.order),
        pads_after=tuple(after[axis] for axis in value.order),
        value=int(lowering.constant(node.inputs[2])),
        dtype=dtype_of(node.inputs[0]),
    )
    lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def pads_of(node: gs.Node, rank: int) -> tuple[list[int], list[int]]:
    """The widths before and after each axis that a Pad with constant inputs says."""
    widths = [int(width) for width in node.inputs[1].values]
    given = node.inputs[3:4]
    axes = given[0].values if given and not given[0].is_empty() else np.arange(rank)
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[int(axis) % rank], after[int(axis) % rank] = widths[place], widths[place + len(axes)]
    return before, after


def padding_value(node: gs.Node) -> float:
    given = node.inputs[2:3]
    return float(np.ravel(given[0].values)[0]) if given and not given[0].is_empty() else 0.0
