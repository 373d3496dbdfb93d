"""What a step has to compute: new columns of most tensors, and of some those columns of the window that no stream has.

A node that reads a whole window demands all its columns. Those that read padding (the first and the last) are those of
this window alone, so they are computed anew in each step, and so are the ones that they are made of; the others come
out of the stream, which keeps them. Nothing else is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Reason
from bevel.passes.step.base import Seen, StepRule
from bevel.passes.step.columns import Columns, Range


@dataclass(frozen=True)
class Demands:
    """By tensor. fresh: new columns are computed; kept: those of the window that a stream has are all kept; anew: the
    others, which are computed anew; masked: new columns that were before the sequence are zeros."""

    fresh: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    anew: dict[str, set[Range]] = field(default_factory=dict)
    masked: set[str] = field(default_factory=set)

    def need(self, tensor: gs.Tensor, view: Columns, columns: Range) -> None:
        """These columns of the window."""
        first, end = view.streamed
        if max(first, columns[0]) < min(end, columns[1]):
            self.fresh.add(tensor.name)
            self.kept.add(tensor.name)
        for one in view.anew:
            if max(one[0], columns[0]) < min(one[1], columns[1]):
                self.anew.setdefault(tensor.name, set()).add(one)

    def ranges(self, node: gs.Node) -> list[Range]:
        """The columns of its outputs that a node computes anew."""
        return sorted({one for tensor in node.outputs for one in self.anew.get(tensor.name, ())})


def demanded(graph: gs.Graph, seen: Seen, whole: Mapping[str, Reason], rules: Mapping[str, StepRule]) -> Demands:
    """What is demanded for the outputs of a graph and for the nodes of `whole`, which read whole windows."""
    demands, results = Demands(), {one.name for one in graph.outputs}
    demands.fresh.update(one for one in results if one in seen.views)
    in_time = set(demands.fresh)  # what results in time are made of
    for node in reversed(graph.nodes):
        timed = seen.timed(node)
        if node.name in whole:
            for tensor, view in timed:
                demands.need(tensor, view, (0, view.length))
            continue
        if not timed:
            continue
        rule, names = rules[node.op], {one.name for one in node.outputs}
        if names & in_time:
            in_time.update(one.name for one, _ in timed)
            demands.masked.update(one.name for one, view in timed if rule.pads(node, view) and seen.begins(view))
        if rule.first_lies_in_time:
            demands.fresh.update(names)
        if names & demands.fresh:
            demands.fresh.update(one.name for one, _ in timed)
        for columns in demands.ranges(node):
            for tensor, view in timed:
                demands.need(tensor, view, rule.reads(node, view, columns).columns)
    return demands
