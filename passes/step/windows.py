"""Convolutions and pools whose windows slide along time: a step keeps the columns that the next ones reach back to."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.graph.regions import words
from bevel.passes.operators.base import Reason
from bevel.passes.step.anew import AnewMaker
from bevel.passes.step.base import Seen, StepMaker, StepRule
from bevel.passes.step.columns import Columns, Range, Reach, Slid, Stretch, slide

POOLS = words("MaxPool AveragePool LpPool")
FIRST_SPATIAL = 2


class StepWindow(StepRule):
    """Conv and pools with time among the axes that the window slides along."""

    operators: ClassVar = POOLS | words("Conv")

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        timed = seen.timed(node)
        if len(timed) > 1 or timed[0][0] is not node.inputs[0]:
            return Reason("its weights are computed from the input")
        view = timed[0][1]
        if view.axis < FIRST_SPATIAL:
            return view if view.axis == 0 or node.op in POOLS else Reason("it sums over all columns")
        if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", b"NOTSET") or node.attrs.get("ceil_mode", 0):
            return Reason("its windows have no written padding")
        reach = reach_of(node, view)
        if max(padding(node, view.axis)) >= reach.extent:
            return Reason("some of its windows read padding alone")
        found = slid(node, view).columns
        return replace(found, unlike=node.name) if node.op in POOLS and reach.before else found

    def pads(self, node: gs.Node, view: Columns) -> bool:
        return view.axis >= FIRST_SPATIAL and padding(node, view.axis)[0] > 0

    def reads(self, node: gs.Node, view: Columns, columns: Range) -> Stretch:
        if view.axis < FIRST_SPATIAL:
            return Stretch(columns)
        return reach_of(node, view).reads(columns, view.length)

    def covers(self, node: gs.Node, view: Columns, columns: Range) -> Range:
        return columns if view.axis < FIRST_SPATIAL else reach_of(node, view).covers(columns)

    def anew(self, node: gs.Node, maker: AnewMaker) -> None:
        view, span = maker.seen.views[node.inputs[0].name], maker.span(node.inputs[0])
        if view.axis < FIRST_SPATIAL:
            maker.same(node)
        else:
            maker.same(node, attrs={"pads": padded(node, view.axis, span.before, span.behind)})

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        view = maker.seen.views[node.inputs[0].name]
        if view.axis < FIRST_SPATIAL:
            maker.same(node)
            return
        source = maker.recent(node.inputs[0], slid(node, view).kept)
        pads = padded(node, view.axis, 0, 0)
        maker.same(node, [source, *map(maker.take, node.inputs[1:])], {"pads": pads})


def spatial(node: gs.Node) -> int:
    return len(node.inputs[0].shape) - FIRST_SPATIAL


def padding(node: gs.Node, axis: int) -> tuple[int, int]:
    """Columns before the first and behind the last."""
    pads, place = node.attrs.get("pads", [0] * 2 * spatial(node)), axis - FIRST_SPATIAL
    return int(pads[place]), int(pads[place + spatial(node)])


def padded(node: gs.Node, axis: int, before: int, behind: int) -> list[int]:
    """The pads of a window, with others along an axis."""
    place, pads = axis - FIRST_SPATIAL, list(node.attrs.get("pads", [0] * 2 * spatial(node)))
    pads[place], pads[place + spatial(node)] = before, behind
    return pads


def reach_of(node: gs.Node, view: Columns) -> Reach:
    place = view.axis - FIRST_SPATIAL
    kernel = node.attrs.get("kernel_shape") or node.inputs[1].shape[FIRST_SPATIAL:]
    stride = int(node.attrs.get("strides", [1] * spatial(node))[place])
    dilation = int(node.attrs.get("dilations", [1] * spatial(node))[place])
    return Reach((int(kernel[place]) - 1) * dilation + 1, stride, padding(node, view.axis)[0])


def slid(node: gs.Node, view: Columns) -> Slid:
    return slide(view, reach_of(node, view), int(node.outputs[0].shape[view.axis]), node.name)
