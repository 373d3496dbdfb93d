"""The step form of a graph over a time axis, canonical and float, or the same with quantizers.

Every operator says how its output lies in time (`Columns`), given how its inputs do. Where one cannot compute new
columns alone (a mean over time, a product with the whole window), it and all behind it compute the whole window in each
step, of columns that are kept. That gives what the full form gives as long as no column of the window reads padding: in
a stream there are columns instead. Otherwise the model is refused, with the node that pads.

What is kept is zeros where a sequence begins, which is just what padding before the first column is. So a model that
pads there only (a causal one) gives its columns from the first step on, and one that does not pad its results as soon
as a window has come.

    step 0..steps-1     after a reset; behind the last, a window of `length` columns has come
    a result in time    its columns up to the newest, in the order of the full form's
    another result      the full form's for the window that ends with the newest column
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import lcm

import onnx_graphsurgeon as gs

from bevel.calib.errors import UserError
from bevel.passes.base import Note
from bevel.passes.operators.base import Reason
from bevel.passes.step.base import PASS, Seen, StepMaker, StepRule
from bevel.passes.step.columns import Columns, Tick
from bevel.passes.step.moves import (
    StepConcat,
    StepGather,
    StepPad,
    StepRepeat,
    StepReshape,
    StepSlice,
    StepSplit,
    StepTranspose,
)
from bevel.passes.step.pointwise import StepAlongOthers, StepElementwise, StepProduct
from bevel.passes.step.recurrent import StepRecurrent
from bevel.passes.step.windows import StepWindow

RULES: tuple[StepRule, ...] = (
    StepElementwise(),
    StepAlongOthers(),
    StepProduct(),
    StepWindow(),
    StepTranspose(),
    StepReshape(),
    StepRepeat(),
    StepSlice(),
    StepPad(),
    StepConcat(),
    StepSplit(),
    StepGather(),
    StepRecurrent(),
)
BY_OPERATOR = {name: rule for rule in RULES for name in rule.operators}


@dataclass(frozen=True)
class StepForm:
    """states: {input: output}; tick: the columns of a step, and of the window. results: how the outputs that lie in
    time do, by name; the others are the full form's. cached: the nodes whose
    results are kept row by row."""

    graph: gs.Graph
    states: dict[str, str]
    input: str
    axis: int
    tick: Tick
    results: dict[str, Columns]
    notes: tuple[Note, ...]
    cached: tuple[str, ...] = ()


@dataclass(frozen=True)
class Looked:
    """How a graph lies in time; whole: the nodes that compute the whole window in each step, and why."""

    seen: Seen
    whole: dict[str, Reason]


def step_form(graph: gs.Graph, input_: str, axis: int) -> StepForm:
    """The step form along an axis of an input. `graph`, whose nodes are in execution order, is spent.

    Raises UserError for a graph that has none, with the node and the reason.
    """
    given = next(one for one in graph.inputs if one.name == input_)
    length = int(given.shape[axis])
    period = period_of(look(graph, given, axis, None).seen.views.values())
    looked = look(graph, given, axis, Tick(period, length))
    check_gain(looked, graph, period)
    maker = StepMaker(looked.seen, Tick(period, length))
    maker.inputs.append(maker.new(given))
    for other in graph.inputs:
        if other is not given:
            maker.inputs.append(maker.new(other))
    for node in graph.nodes:
        make(node, looked, maker)
    results = {one.name: looked.seen.views[one.name] for one in graph.outputs if one.name in looked.seen.views}
    outputs = [result(maker, one) for one in graph.outputs]
    made = gs.Graph(maker.nodes, maker.inputs, [*outputs, *maker.outputs], name=graph.name, opset=graph.opset)
    made.import_domains = graph.import_domains
    notes = tuple(
        Note(PASS, name, "stays", f"computed for the whole window in each step: {why}")
        for name, why in looked.whole.items()
    )
    return StepForm(made.toposort(), maker.states, input_, axis, maker.tick, results, notes, tuple(maker.cached))


def period_of(views: Iterable[Columns]) -> int:
    """The fewest columns of the input that are whole columns of every tensor."""
    return lcm(*(view.stride for view in views))


def look(graph: gs.Graph, given: gs.Tensor, axis: int, tick: Tick | None) -> Looked:
    views = {given.name: Columns(axis, int(given.shape[axis]))}
    whole: dict[str, Reason] = {}
    for node in graph.nodes:
        seen = Seen(views, tick)
        timed = seen.timed(node)
        if not timed:
            continue
        found = look_at(node, seen)
        if isinstance(found, Columns):
            lying = node.outputs[:1] if BY_OPERATOR[node.op].first_lies_in_time else node.outputs
            views |= {one.name: found for one in lying if not one.is_empty()}
        else:
            check_whole(node, found, [view for _, view in timed])
            whole[node.name] = found
    for one in graph.outputs:
        view = views.get(one.name)
        if view is not None and view.late:
            raise refused(one.name, f"reads {view.late} columns behind the newest: node {view.late_by} pads there")
        if view is not None and view.open:
            raise refused(one.name, "its scores are of columns that have not come, too: it has no causal mask")
    return Looked(Seen(views, tick), whole)


def look_at(node: gs.Node, seen: Seen) -> Columns | Reason:
    rule = BY_OPERATOR.get(node.op)
    if rule is None or (len(node.outputs) > 1 and not (rule.several or rule.first_lies_in_time)):
        return Reason(f"{node.op} has no step form")
    if any(view.across is not None for _, view in seen.timed(node)) and node.op not in OF_SCORES:
        return Reason(f"there is no {node.op} of scores in a step")
    return rule.look(node, seen)


def check_whole(node: gs.Node, why: Reason, views: list[Columns]) -> None:
    """Raises UserError where the window that a node reads is none of a stream's."""
    for view in views:
        if view.late:
            raise refused(node.name, f"{why}, and node {view.late_by} pads behind columns that a stream goes on with")
        if view.edge:
            raise refused(node.name, f"{why}, and what node {view.edge_by} gives depends on where the sequence begins")


def check_gain(looked: Looked, graph: gs.Graph, period: int) -> None:
    """Raises UserError where everything would be computed for the whole window."""
    kept = [node for node in graph.nodes if node.outputs[0].name in looked.seen.views and node.op in COMPUTES]
    first = next(iter(looked.whole.items()), None)
    if not kept and first is not None:
        raise refused(first[0], str(first[1]))


OF_SCORES = StepElementwise.operators | {"MatMul", "Softmax"}
COMPUTES = StepWindow.operators | StepProduct.operators | StepRecurrent.operators


def refused(name: str, why: str) -> UserError:
    return UserError(f"--step: {name}: {why}")


def make(node: gs.Node, looked: Looked, maker: StepMaker) -> None:
    """The node's new columns, or all that it computes of the window."""
    if not looked.seen.timed(node):
        maker.same(node)
    elif node.name in looked.whole:
        maker.same(node, [maker.window(one) if looked.seen.of(one) else maker.take(one) for one in node.inputs])
    else:
        BY_OPERATOR[node.op].make(node, maker)


def result(maker: StepMaker, tensor: gs.Tensor) -> gs.Tensor:
    """An output of the step, under its name."""
    made = maker.made[tensor.name]
    if made.name == tensor.name:
        return made
    named = gs.Variable(tensor.name, tensor.dtype, list(made.shape))
    maker.nodes.append(gs.Node("Identity", f"{tensor.name}/result", {}, [made], [named]))
    return named
