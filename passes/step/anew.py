"""Columns of a window: those that a stream has, and those that are computed anew in each step."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from bevel.passes.step.base import StepMaker, StepRule
from bevel.passes.step.columns import Range, Stretch
from bevel.passes.step.quantized import name_of, quantized_like


class AnewMaker(StepMaker):
    """Makes `columns` of what a node computes of a window, with the node's own rule: what this takes are columns of the
    window, and those that it makes are no new ones."""

    def __init__(self, step: StepMaker, rule: StepRule, node: gs.Node, columns: Range) -> None:
        super().__init__(step.seen, step.tick)
        self.step, self.columns = step, columns
        self.spans = {one.name: rule.reads(node, view, columns) for one, view in step.seen.timed(node)}

    def shape(self, tensor: gs.Tensor) -> list[int]:
        shape, view = [int(size) for size in tensor.shape], self.seen.of(tensor)
        if view is not None:
            shape[view.axis] = self.columns[1] - self.columns[0]
        return shape

    def span(self, tensor: gs.Tensor) -> Stretch:
        return self.spans[tensor.name]

    def take(self, tensor: gs.Tensor) -> gs.Tensor:
        span = self.spans.get(tensor.name)
        return self.step.take(tensor) if span is None else columns_of(self.step, tensor, span.columns)

    def delayed(self, tensor: gs.Tensor, wait: int) -> gs.Tensor:
        return self.take(tensor)


def make_anew(step: StepMaker, rule: StepRule, node: gs.Node, columns: Range) -> None:
    """Add what computes `columns` of a node's outputs."""
    maker = AnewMaker(step, rule, node, columns)
    rule.anew(node, maker)
    end = f"columns_{columns[0]}_{columns[1]}"
    rename(maker.nodes, {id(one) for one in node.inputs}, end)
    step.nodes += maker.nodes
    for one in node.outputs:
        if not one.is_empty():
            step.pieces[one.name, columns] = maker.made[one.name]


def rename(nodes: Sequence[gs.Node], shared: set[int], end: str) -> None:
    """Names of their own for nodes, for what they make and for constants that were made for them."""
    renamed: set[int] = set()
    for node in nodes:
        node.name = f"{node.name}/{end}"
        own = [one for one in node.inputs if isinstance(one, gs.Constant) and id(one) not in shared]
        for tensor in (*own, *node.outputs):
            if not tensor.is_empty() and id(tensor) not in renamed:
                renamed.add(id(tensor))
                tensor.name = f"{tensor.name}/{end}"


def columns_of(maker: StepMaker, tensor: gs.Tensor, columns: Range) -> gs.Tensor:
    """Columns [first, end) of the window that ends with the newest column."""
    if (tensor.name, columns) not in maker.pieces:
        maker.pieces[tensor.name, columns] = assembled(maker, tensor, columns)
    return maker.pieces[tensor.name, columns]


def assembled(maker: StepMaker, tensor: gs.Tensor, columns: Range) -> gs.Tensor:
    view, parts = maker.seen.views[tensor.name], []
    streamed = view.streamed
    for one in sorted({*view.anew, streamed}):
        first, end = max(one[0], columns[0]), min(one[1], columns[1])
        if first < end:
            whole = streamed_of(maker, tensor) if one == streamed else maker.pieces[tensor.name, one]
            parts.append(part(maker, tensor, whole, (one, (first, end))))
    if len(parts) == 1:
        return parts[0]
    shape = [int(size) for size in tensor.shape]
    shape[view.axis] = columns[1] - columns[0]
    name = f"{name_of(tensor)}/columns_{columns[0]}_{columns[1]}/joined"
    return quantized_like(tensor, maker.add("Concat", name, parts, shape, axis=view.axis), maker.nodes)


def part(maker: StepMaker, tensor: gs.Tensor, whole: gs.Tensor, ranges: tuple[Range, Range]) -> gs.Tensor:
    """Of columns [first, end) of the window, the second range."""
    (start, end), columns = ranges
    if (start, end) == columns:
        return whole
    view, name = maker.seen.views[tensor.name], f"{tensor.name}/columns_{columns[0]}_{columns[1]}"
    return maker.cut(tensor, name, whole, view.axis, (columns[0] - start, columns[1] - start))


def streamed_of(maker: StepMaker, tensor: gs.Tensor) -> gs.Tensor:
    """All columns of the window that a stream has."""
    view = maker.seen.views[tensor.name]
    first, end = view.streamed
    return maker.recent(tensor, end - first - maker.tick.fresh(view))
