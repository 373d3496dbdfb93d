"""Convolutions and pools whose windows slide along time: a step keeps the columns that the next ones reach back to."""

from __future__ import annotations

from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.graph.regions import words
from bevel.passes.operators.base import Reason
from bevel.passes.step.base import Seen, StepMaker, StepRule
from bevel.passes.step.columns import Columns, Reach, Slid, slide
from bevel.passes.step.moves import begins_so

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
        if node.op in POOLS and padding(node, view.axis)[0]:
            return Reason("its windows begin before the first column")
        found = slid(node, view)
        return begins_so(found.columns, view, padding(node, view.axis)[0], seen, node)

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        view = maker.seen.views[node.inputs[0].name]
        if view.axis < FIRST_SPATIAL:
            maker.same(node)
            return
        source = maker.recent(node.inputs[0], slid(node, view).kept)
        place, pads = view.axis - FIRST_SPATIAL, list(node.attrs.get("pads", [0] * 2 * spatial(node)))
        pads[place] = pads[place + spatial(node)] = 0
        maker.same(node, [source, *map(maker.take, node.inputs[1:])], {"pads": pads})


def spatial(node: gs.Node) -> int:
    return len(node.inputs[0].shape) - FIRST_SPATIAL


def padding(node: gs.Node, axis: int) -> tuple[int, int]:
    """Columns before the first and behind the last."""
    pads, place = node.attrs.get("pads", [0] * 2 * spatial(node)), axis - FIRST_SPATIAL
    return int(pads[place]), int(pads[place + spatial(node)])


def slid(node: gs.Node, view: Columns) -> Slid:
    place = view.axis - FIRST_SPATIAL
    kernel = node.attrs.get("kernel_shape") or node.inputs[1].shape[FIRST_SPATIAL:]
    stride = int(node.attrs.get("strides", [1] * spatial(node))[place])
    dilation = int(node.attrs.get("dilations", [1] * spatial(node))[place])
    reach = Reach((int(kernel[place]) - 1) * dilation + 1, stride, padding(node, view.axis)[0])
    return slide(view, reach, int(node.outputs[0].shape[view.axis]), node.name)
