"""The step form of a graph over a time axis, canonical and float, or the same with quantizers.

Every operator says how its output lies in time (`Columns`), given how its inputs do. Where one cannot compute new
columns alone (a mean over time, a product with the whole window), it and all behind it compute the whole window in each
step, of columns that are kept. Columns of it that read padding, where a stream has columns instead, are computed anew.

What is kept is zeros where a sequence begins, which is just what padding before the first column is. So a model that
pads there only (a causal one) gives its columns from the first step on, and one that does not pad its results as soon
as a window has come. One that pads behind the last column looks ahead: its columns come late, by as many as that pads;
what its layers have of columns from before the sequence is zeros, as their padding.

    step 0..steps-1     after a reset; behind the last, a window of `length` columns has come
    a result in time    its columns up to the newest but those that are late, in the order of the full form's; these
                        are the full form's but for the last, which read padding there
    another result      the full form's for the window that ends with the newest column
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import lcm
from types import MappingProxyType

import onnx_graphsurgeon as gs

from bevel.calib.errors import UserError
from bevel.passes.base import Note
from bevel.passes.graph.quantizers import ROUNDINGS
from bevel.passes.operators.base import Reason
from bevel.passes.step.anew import columns_of, make_anew
from bevel.passes.step.base import PASS, Role, Seen, StepMaker, StepRule
from bevel.passes.step.columns import Columns, Range, Tick
from bevel.passes.step.demands import Demands, demanded
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
from bevel.passes.step.position import masked
from bevel.passes.step.recurrent import StepRecurrent
from bevel.passes.step.transposed import StepTransposed
from bevel.passes.step.windows import StepWindow

RULES: tuple[StepRule, ...] = (
    StepElementwise(),
    StepAlongOthers(),
    StepProduct(),
    StepWindow(),
    StepTransposed(),
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
    time do, by name; the others are the full form's. cached: the nodes whose results are kept row by row, and as
    what."""

    graph: gs.Graph
    states: dict[str, str]
    input: str
    axis: int
    tick: Tick
    results: dict[str, Columns]
    notes: tuple[Note, ...]
    cached: Mapping[str, Role]


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
    period = period_of(look(graph, given, axis).seen.views.values())
    tick = Tick(period, length)
    looked, demands = decided(graph, given, axis, tick)
    check_gain(looked, demands, graph)
    maker = StepMaker(looked.seen, tick, kept=demands.kept)
    for one in graph.inputs:
        maker.inputs.append(maker.new(one))
        mask(maker, one, demands)
    for node in graph.nodes:
        make(node, looked, demands, maker)
    outputs = [result(maker, one) for one in graph.outputs]
    made = gs.Graph(maker.nodes, maker.inputs, [*outputs, *maker.outputs], name=graph.name, opset=graph.opset)
    made.import_domains = graph.import_domains
    results = {one.name: looked.seen.views[one.name] for one in graph.outputs if one.name in looked.seen.views}
    notes = told(graph, looked, demands, results)
    return StepForm(made.toposort(), maker.states, input_, axis, tick, results, notes, maker.cached)


def told(graph: gs.Graph, looked: Looked, demands: Demands, results: Mapping[str, Columns]) -> tuple[Note, ...]:
    """What is computed more than once, and what comes late."""
    whole = [
        Note(PASS, name, "stays", f"computed for the whole window in each step: {why}")
        for name, why in looked.whole.items()
    ]
    edges = [
        Note(PASS, node.name, "stays", anew_text(looked.seen.views[node.outputs[0].name], demands.ranges(node)))
        for node in graph.nodes
        if node.op in COMPUTES and demands.ranges(node)
    ]
    late = [
        Note(PASS, view.late_by, "chosen", f"looks ahead: {name} comes {view.late} columns late", {"late": view.late})
        for name, view in results.items()
        if view.late
    ]
    return (*whole, *edges, *late)


def anew_text(view: Columns, ranges: Iterable[Range]) -> str:
    count = sum(end - first for first, end in ranges)
    return f"{count} of {view.length} columns are made of padding, which a stream has not: they are computed anew"


def decided(graph: gs.Graph, given: gs.Tensor, axis: int, tick: Tick) -> tuple[Looked, Demands]:
    """How the graph lies in time and what a step computes. Nodes whose columns no step can compute alone, which shows
    in what is made of them, compute the whole window."""
    forced: dict[str, Reason] = {}
    while True:
        looked = look(graph, given, axis, tick, forced)
        demands = demanded(graph, looked.seen, looked.whole, BY_OPERATOR)
        more = {**padded_otherwise(graph, looked.seen), **padding_alone(graph, looked.seen, demands)}
        if not more.keys() - forced.keys():
            check_windows(graph, looked)
            return looked, demands
        forced |= more


def padded_otherwise(graph: gs.Graph, seen: Seen) -> dict[str, Reason]:
    """Nodes that pad results in time with what no state of zeros is."""
    views = [seen.views[one.name] for one in graph.outputs if one.name in seen.views]
    return {view.unlike: Reason("its windows begin before the first column") for view in views if view.unlike}


def padding_alone(graph: gs.Graph, seen: Seen, demands: Demands) -> dict[str, Reason]:
    """Nodes of which a column that is computed anew would read padding alone."""
    found = {}
    for node in graph.nodes:
        for columns in demands.ranges(node):
            spans = [BY_OPERATOR[node.op].reads(node, view, columns).columns for _, view in seen.timed(node)]
            if any(first >= end for first, end in spans):
                found[node.name] = Reason("some of its columns are made of padding alone")
    return found


def period_of(views: Iterable[Columns]) -> int:
    """The fewest columns of the input that are whole columns of every tensor."""
    return lcm(*(view.stride.numerator for view in views))


BESIDE = Reason("what it reads beside is of the whole window, and changes all columns")


def look(
    graph: gs.Graph,
    given: gs.Tensor,
    axis: int,
    tick: Tick | None = None,
    forced: Mapping[str, Reason] = MappingProxyType({}),
) -> Looked:
    """forced: nodes that are to compute the whole window, and why."""
    views = {given.name: Columns(axis, int(given.shape[axis]))}
    whole: dict[str, Reason] = {}
    newest: set[str] = set()  # tensors that are others in each step, and have no columns
    for node in graph.nodes:
        seen = Seen(views, tick)
        beside = any(one.name in newest for one in node.inputs)
        if not seen.timed(node):
            newest.update(one.name for one in node.outputs if beside and not one.is_empty())
            continue
        found = forced.get(node.name) or (BESIDE if beside else look_at(node, seen))
        if isinstance(found, Columns):
            lying = node.outputs[:1] if BY_OPERATOR[node.op].first_lies_in_time else node.outputs
            views |= {one.name: found for one in lying if not one.is_empty()}
        else:
            whole[node.name] = found
        newest.update(one.name for one in node.outputs if one.name not in views and not one.is_empty())
    return Looked(Seen(views, tick), whole)


def look_at(node: gs.Node, seen: Seen) -> Columns | Reason:
    rule = BY_OPERATOR.get(node.op)
    if rule is None or (len(node.outputs) > 1 and not (rule.several or rule.first_lies_in_time)):
        return Reason(f"{node.op} has no step form")
    if any(view.across is not None for _, view in seen.timed(node)) and node.op not in OF_SCORES:
        return Reason(f"there is no {node.op} of scores in a step")
    return rule.look(node, seen)


def check_windows(graph: gs.Graph, looked: Looked) -> None:
    """Raises UserError where the window that a node reads is none of a stream's, and for results that are none."""
    for node in graph.nodes:
        if node.name in looked.whole and node.op in ROUNDINGS:  # between a quantizer and its dequantizer
            raise refused(node.name, str(looked.whole[node.name]))
        for _, view in looked.seen.timed(node) if node.name in looked.whole else ():
            if view.bound:
                first, why = next(iter(looked.whole.items()))
                raise refused(first, f"{why}, and what node {view.edge_by} gives depends on where the sequence begins")
    for one in graph.outputs:
        found = looked.seen.views.get(one.name)
        if found is not None and found.open:
            raise refused(one.name, "its scores are of columns that have not come, too: it has no causal mask")


def check_gain(looked: Looked, demands: Demands, graph: gs.Graph) -> None:
    """Raises UserError where everything would be computed for the whole window."""
    kept = [node for node in graph.nodes if node.outputs[0].name in demands.fresh and node.op in COMPUTES]
    first = next(iter(looked.whole.items()), None)
    if not kept and first is not None:
        raise refused(first[0], str(first[1]))


OF_SCORES = StepElementwise.operators | {"MatMul", "Softmax"}
COMPUTES = StepWindow.operators | StepTransposed.operators | StepProduct.operators | StepRecurrent.operators


def refused(name: str, why: str) -> UserError:
    return UserError(f"--step: {name}: {why}")


def make(node: gs.Node, looked: Looked, demands: Demands, maker: StepMaker) -> None:
    """The node's new columns, those that are computed anew, or all that it computes of the window."""
    timed = looked.seen.timed(node)
    if not timed:
        maker.same(node)
    elif node.name in looked.whole:
        views = looked.seen.views
        windows = {one.name: columns_of(maker, one, (0, views[one.name].length)) for one, _ in timed}
        maker.same(node, [windows[one.name] if one.name in windows else maker.take(one) for one in node.inputs])
    else:
        rule = BY_OPERATOR[node.op]
        if any(one.name in demands.fresh for one in node.outputs):
            rule.make(node, maker)
            for one in node.outputs:
                mask(maker, one, demands)
        for columns in demands.ranges(node):
            make_anew(maker, rule, node, columns)


def mask(maker: StepMaker, tensor: gs.Tensor, demands: Demands) -> None:
    if tensor.name in demands.masked:
        maker.made[tensor.name] = masked(maker, tensor)


def result(maker: StepMaker, tensor: gs.Tensor) -> gs.Tensor:
    """An output of the step, under its name."""
    made = maker.made[tensor.name]
    if made.name == tensor.name:
        return made
    named = gs.Variable(tensor.name, tensor.dtype, list(made.shape))
    maker.nodes.append(gs.Node("Identity", f"{tensor.name}/result", {}, [made], [named]))
    return named
