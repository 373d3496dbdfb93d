"""Pad with a constant: the integer of that constant around the same integers. Modes that repeat elements
(reflect, edge, wrap) pick them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Activation, Array, Match, Operator, Reason, Site
from bevel.passes.operators.functions.table import on_scale, quantized
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.moves.gather import gathers, lower_gather
from bevel.passes.operators.moves.wide_pad import WidePad, lower_pad, padding_value, pads_of


class Pad(Operator):
    float_ops: ClassVar = frozenset({"Pad"})
    limits: ClassVar = "constant widths; constant, reflect, edge, wrap"
    integer_op: ClassVar = "Pad"
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
        padded = pad_integers(site, tensor)
        return padded if isinstance(padded, Reason) else [*nodes, *padded]

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        if repeats(node):
            lower_gather(node, picked(node, lowering.value(node.inputs[0]).shape), lowering)
        else:
            lower_pad(node, lowering)


def pad_integers(site: Site, x: gs.Tensor) -> list[gs.Node] | Reason:
    """The Pad of integers that mean what those of the result mean."""
    given = site.node.inputs
    if repeats(site.node):
        if site.wide:
            return gathers(site, x, picked(site.node, x.shape))
        return site.standard([x, given[1], gs.Variable.empty(), *given[3:4]])
    if site.wide:
        same = Activation(x, site.scale, site.result.zero_point)
        return WidePad().integerize(replace(site, inputs=(same,)))
    value = quantized(np.array(padding_value(site.node)), site.scale, site.result)
    return site.standard([x, given[1], site.constant("value", value), *given[3:4]])


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
