"""Layers that pad in time read columns instead, of a window that is longer by as many: what a stream has there.

    y = mean over T columns of Conv <pads = [1, 1]> (x of T columns)   ->   Conv <pads = [0, 0]> (x of T + 2 columns)

It is another function where the window ends, for there were zeros, and the same elsewhere. Nothing depends on where a
window begins then, so that a step computes new columns alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_graphsurgeon as gs

from bevel.passes.step.anew import AnewMaker
from bevel.passes.step.base import StepMaker, StepRule
from bevel.passes.step.columns import Columns, Range, Stretch
from bevel.passes.step.derive import BY_OPERATOR, Looked, look, refused
from bevel.passes.step.transposed import StepTransposed


@dataclass(frozen=True)
class Unpadded:
    """graph: over a window that is longer by `before` and `behind` columns."""

    graph: gs.Graph
    before: int
    behind: int


class LongerMaker(AnewMaker):
    """Makes those columns of a node's outputs that `ranges` has, out of those of its inputs."""

    def __init__(self, step: StepMaker, ranges: dict[str, Range], rule: StepRule, node: gs.Node) -> None:
        StepMaker.__init__(self, step.seen, step.tick, step.nodes, made=step.made, cuts=step.cuts)
        self.step, self.ranges, self.columns = step, ranges, ranges[node.outputs[0].name]
        self.spans = {one.name: Stretch(rule.covers(node, view, self.columns)) for one, view in step.seen.timed(node)}

    def take(self, tensor: gs.Tensor) -> gs.Tensor:
        span = self.spans.get(tensor.name)
        if span is None:
            return self.step.take(tensor)
        return cut_from(self, tensor, self.ranges[tensor.name], span.columns)


def unpadded(graph: gs.Graph, input_: str, axis: int) -> Unpadded:
    """`graph`, canonical and float, whose nodes are in execution order, is spent. Raises UserError where layers turn
    time around or depend on where a sequence begins."""
    given = next(one for one in graph.inputs if one.name == input_)
    looked = look(graph, given, axis)
    ranges = ranges_of(graph, looked)
    first, end = ranges.get(given.name, (0, int(given.shape[axis])))
    maker = StepMaker(looked.seen, None)  # type: ignore[arg-type]  # nothing here has steps
    inputs = [gs.Variable(one.name, one.dtype, list(one.shape)) for one in graph.inputs]
    maker.made |= {one.name: one for one in inputs}
    maker.made[given.name].shape[axis] = end - first
    for node in graph.nodes:
        put_longer(node, looked, ranges, maker)
    outputs = [result_of(maker, one, ranges) for one in graph.outputs]
    made = gs.Graph(maker.nodes, inputs, outputs, name=graph.name, opset=graph.opset)
    made.import_domains = graph.import_domains
    return Unpadded(made.toposort(), -first, end - int(given.shape[axis]))


def ranges_of(graph: gs.Graph, looked: Looked) -> dict[str, Range]:
    """Which columns of each tensor are read, where no layer pads: below 0 and beyond its length, too."""
    seen, ranges = looked.seen, dict[str, Range]()
    for one in graph.outputs:
        if one.name in seen.views:
            ranges[one.name] = 0, seen.views[one.name].length
    for node in reversed(graph.nodes):
        wanted = [ranges[one.name] for one in node.outputs if one.name in ranges]
        whole = node.name in looked.whole
        if not whole and not wanted:
            continue
        columns = (min(one[0] for one in wanted), max(one[1] for one in wanted)) if wanted else (0, 0)
        if not whole:
            ranges.update({one.name: columns for one in node.outputs})
        check_free(node, [view for _, view in seen.timed(node)], looked)
        for tensor, view in seen.timed(node):
            read = (0, view.length) if whole else BY_OPERATOR[node.op].covers(node, view, columns)
            before = ranges.get(tensor.name, read)
            ranges[tensor.name] = min(before[0], read[0]), max(before[1], read[1])
    return ranges


def check_free(node: gs.Node, views: list[Columns], looked: Looked) -> None:
    """Raises UserError for what depends on where the sequence begins or ends."""
    if node.op in StepTransposed.operators:
        raise refused(node.name, "a ConvTranspose adds up columns of the window alone")
    made = [looked.seen.views[one.name] for one in node.outputs if one.name in looked.seen.views]
    bound = next((view.edge_by for view in (*views, *made) if view.bound or view.across is not None), None)
    if bound is not None:
        raise refused(node.name, f"what node {bound or node.name} gives depends on where the sequence begins")


def put_longer(node: gs.Node, looked: Looked, ranges: dict[str, Range], maker: StepMaker) -> None:
    timed = {one.name: one for one, _ in looked.seen.timed(node)}
    if node.name in looked.whole:
        views = looked.seen.views
        windows = {one: cut_from(maker, tensor, ranges[one], (0, views[one].length)) for one, tensor in timed.items()}
        maker.same(node, [windows[one.name] if one.name in timed else maker.take(one) for one in node.inputs])
    elif not timed:
        maker.same(node)
    elif node.outputs[0].name in ranges:
        rule = BY_OPERATOR[node.op]
        rule.anew(node, LongerMaker(maker, ranges, rule, node))


def result_of(maker: StepMaker, tensor: gs.Tensor, ranges: dict[str, Range]) -> gs.Tensor:
    """An output, with the columns that it had: what layers behind it read besides is cut off."""
    view, made = maker.seen.of(tensor), maker.made[tensor.name]
    if view is None or ranges[tensor.name] == (0, view.length):
        return made
    found = cut_from(maker, tensor, ranges[tensor.name], (0, view.length))
    made.name, found.name = f"{tensor.name}/longer", tensor.name
    return found


def cut_from(maker: StepMaker, tensor: gs.Tensor, have: Range, columns: Range) -> gs.Tensor:
    """Columns of a tensor of which there are those from `have` on."""
    if have == columns:
        return maker.made[tensor.name]
    axis = maker.seen.views[tensor.name].axis
    first, end = (one - have[0] for one in columns)
    return maker.cut(tensor, f"{tensor.name}/columns_{first}_{end}", maker.made[tensor.name], axis, (first, end))
