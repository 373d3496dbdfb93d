"""Transposed convolutions along time: `stride` columns for each one that comes in.

    output j = sum over i of x[i] * w[j + before - i * stride], of i whose place in w is a multiple of the dilation

So column j is there when the last i that reaches it is: j + before < (i + 1) * stride. Each step crops what later
columns add to, and gives it when they have come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.graph.regions import words
from bevel.passes.operators.base import Reason
from bevel.passes.step.anew import AnewMaker
from bevel.passes.step.base import Seen, StepMaker, StepRule
from bevel.passes.step.columns import Columns, Range, Stretch
from bevel.passes.step.windows import FIRST_SPATIAL, padded, padding, spatial


@dataclass(frozen=True)
class Spread:
    """Input i reaches outputs i * stride - before up to i * stride - before + extent - 1."""

    stride: int
    extent: int
    before: int

    def reads(self, columns: Range, length: int) -> Range:
        """The inputs that reach outputs [first, end), or of one that reaches none the one before."""
        first, last = columns[0] + self.before, columns[1] + self.before - 1
        begin = min(-(-(first - self.extent + 1) // self.stride), first // self.stride)
        return max(begin, 0), min(last // self.stride + 1, length)

    def crop(self, columns: Range, inputs: Range) -> dict[str, int]:
        """What of the outputs that these inputs make lies before and behind `columns`, and how many zeros follow."""
        before = columns[0] + self.before - inputs[0] * self.stride
        behind = (inputs[1] - 1) * self.stride + self.extent - self.before - columns[1]
        return {"before": before, "behind": max(behind, 0), "zeros": max(-behind, 0)}


class StepTransposed(StepRule):
    operators: ClassVar = words("ConvTranspose")

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        timed = seen.timed(node)
        if len(timed) > 1 or timed[0][0] is not node.inputs[0]:
            return Reason("its weights are computed from the input")
        view = timed[0][1]
        if view.axis < FIRST_SPATIAL:
            return view if view.axis == 0 else Reason("it sums over all columns")
        spread, length = spread_of(node, view), int(node.outputs[0].shape[view.axis])
        newest = (view.last + 1) * spread.stride - spread.before - 1
        if newest >= length:
            return Reason("it cuts off what its newest column makes")
        late, edge = length - 1 - newest, min(max(spread_edge(spread, view), 0), length)
        return Columns(
            view.axis,
            length,
            view.stride / spread.stride,
            late,
            edge,
            (view.late_by or node.name) if late else "",
            (view.edge_by or node.name) if edge else "",
            view.bound,
            view.unlike,
        )

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        tensor, view = node.inputs[0], maker.seen.views[node.inputs[0].name]
        if view.axis < FIRST_SPATIAL:
            maker.same(node)
            return
        spread, fresh = spread_of(node, view), maker.tick.fresh(view)
        end = (view.last + 1) * spread.stride - spread.before
        columns = end - fresh * spread.stride, end
        first = -(-(columns[0] + spread.before - spread.extent + 1) // spread.stride)
        inputs = min(first, view.last + 1 - fresh), view.last + 1
        source = maker.recent(tensor, inputs[1] - inputs[0] - fresh)
        maker.same(node, [source, *map(maker.take, node.inputs[1:])], cropped(node, view, spread.crop(columns, inputs)))

    def pads(self, node: gs.Node, view: Columns) -> bool:
        return view.axis >= FIRST_SPATIAL and spread_of(node, view).extent > spread_of(node, view).stride

    def reads(self, node: gs.Node, view: Columns, columns: Range) -> Stretch:
        if view.axis < FIRST_SPATIAL:
            return Stretch(columns)
        return Stretch(spread_of(node, view).reads(columns, view.length))

    def anew(self, node: gs.Node, maker: AnewMaker) -> None:
        view = maker.seen.views[node.inputs[0].name]
        if view.axis < FIRST_SPATIAL:
            maker.same(node)
            return
        crop = spread_of(node, view).crop(maker.columns, maker.span(node.inputs[0]).columns)
        maker.same(node, attrs=cropped(node, view, crop))


def spread_of(node: gs.Node, view: Columns) -> Spread:
    place = view.axis - FIRST_SPATIAL
    kernel = node.attrs.get("kernel_shape") or node.inputs[1].shape[FIRST_SPATIAL:]
    stride = int(node.attrs.get("strides", [1] * spatial(node))[place])
    dilation = int(node.attrs.get("dilations", [1] * spatial(node))[place])
    return Spread(stride, (int(kernel[place]) - 1) * dilation + 1, padding(node, view.axis)[0])


def spread_edge(spread: Spread, view: Columns) -> int:
    """Outputs that columns before the first would reach, or those that read padding."""
    return (view.edge - 1) * spread.stride + spread.extent - spread.before


def cropped(node: gs.Node, view: Columns, crop: dict[str, int]) -> dict[str, Any]:
    """Attributes that crop along time so."""
    zeros = [int(size) for size in node.attrs.get("output_padding", [0] * spatial(node))]
    zeros[view.axis - FIRST_SPATIAL] = crop["zeros"]
    return {"pads": padded(node, view.axis, crop["before"], crop["behind"]), "output_padding": zeros}
