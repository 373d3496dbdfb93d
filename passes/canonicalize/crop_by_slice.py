"""Let a Slice do what a Pad with negative widths crops: pad(x, -1, 2) == pad(x[1:], 0, 2). Exact.

A Pad that repeats elements crops first too, but only where it pads nothing on the same axis: onnxruntime picks what it
repeats from before the crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, constant, given, integers, static_shape, variable

Widths = dict[int, tuple[int, int]]  # axis: before and after


@dataclass(frozen=True)
class CropBySlice(Pass):
    name: ClassVar[str] = "crop-by-slice"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        found = [(node, widths) for node in alive(graph) if (widths := find(node)) is not None]
        for node, widths in found:
            split(graph, node, widths)
        return work.result(bool(found))


def find(node: gs.Node) -> Widths | None:
    """The widths of a Pad that crops somewhere and leaves something everywhere."""
    shape = static_shape(node.inputs[0]) if node.op == "Pad" else None
    if shape is None:
        return None
    amounts = integers(given(node, 1))
    axes = integers(given(node, 3)) if given(node, 3) is not None else tuple(range(len(shape)))
    if amounts is None or axes is None or min(amounts, default=0) >= 0:
        return None
    pairs = zip(amounts[: len(axes)], amounts[len(axes) :], strict=True)
    widths = {axis % len(shape): pair for axis, pair in zip(axes, pairs, strict=True)}
    repeats = node.attrs.get("mode", "constant") != "constant"
    if any(shape[axis] + min(before, 0) + min(after, 0) <= 0 for axis, (before, after) in widths.items()):
        return None
    if repeats and any(min(pair) < 0 < max(pair) for pair in widths.values()):
        return None
    return widths


def split(graph: gs.Graph, node: gs.Node, widths: Widths) -> None:
    x, shape = node.inputs[0], list(static_shape(node.inputs[0]) or ())
    cropped = {axis: (max(-before, 0), max(-after, 0)) for axis, (before, after) in widths.items()}
    axes = [axis for axis, pair in cropped.items() if any(pair)]
    starts = [cropped[axis][0] for axis in axes]
    ends = [shape[axis] - cropped[axis][1] for axis in axes]
    for axis, start, end in zip(axes, starts, ends, strict=True):
        shape[axis] = end - start
    rest = variable(graph, f"{node.name}.cropped", x.dtype, shape)
    bounds = {"starts": starts, "ends": ends, "axes": axes}
    window = [constant(graph, f"{node.name}.{role}", np.array(one, np.int64)) for role, one in bounds.items()]
    append(graph, "Slice", f"{node.name}.crop", [x, *window], rest)
    padded = [max(widths.get(axis, (0, 0))[place], 0) for place in (0, 1) for axis in range(len(shape))]
    pads = constant(graph, f"{node.name}.pads", np.array(padded, np.int64))
    node.inputs = [rest, pads, *node.inputs[2:3]]
