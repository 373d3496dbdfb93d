"""Operators that compute each column of what comes in by itself: a step computes the new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import integers
from bevel.passes.graph.regions import ONE_INPUT, WITH_CONSTANTS, words
from bevel.passes.operators.base import Reason
from bevel.passes.step.attention import attend, bar, kept_rows, kept_scores, unseen
from bevel.passes.step.base import Role, Seen, StepMaker, StepRule
from bevel.passes.step.columns import Columns, Unseen
from bevel.passes.step.position import positioned, row_of
from bevel.passes.step.quantized import constant_values

PER_AXIS = words("QuantizeLinear DequantizeLinear")
QUANTIZERS = PER_AXIS | words("QuantizeFloat DequantizeSteps QuantizeFixed WideClip Table Cast")
LOGICAL = words("And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Mod Not Or Where Xor")
REDUCTIONS = words("ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum")
ALL_BEHIND = words("LayerNormalization RMSNormalization")  # they take the axes from theirs to the last
GLOBAL = words("GlobalAveragePool GlobalMaxPool GlobalLpPool InstanceNormalization")  # all axes from the third on


class StepElementwise(StepRule):
    """Element by element. What is broadcast has one column or none; tensors that lie in time lie in it alike, but that
    some are later than others, for which these wait."""

    operators: ClassVar = ONE_INPUT | WITH_CONSTANTS | QUANTIZERS | LOGICAL

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        rank = len(node.outputs[0].shape)
        views = [view.at(view.axis + rank - len(one.shape)) for one, view in seen.timed(node)]
        first = views[0]
        if any((one.axis, one.length, one.stride) != (first.axis, first.length, first.stride) for one in views):
            return Reason("what it reads lies in time in different ways")
        if int(node.outputs[0].shape[first.axis]) != first.length:
            return Reason("it repeats a column")
        if node.op in PER_AXIS and node.inputs[1].shape and has_axis(node, first.axis):
            return Reason("each column has a scale of its own")
        if any(one.across is not None for one in views) and len(views) > 1:
            return Reason("it joins scores with what lies in time")
        found = latest(views)
        if found.across is not None and node.op not in QUANTIZERS:
            found = replace(found, unseen=unseen(node, found))
        if node.op not in QUANTIZERS and (bound := self.bound(node, found, seen)) is not None:
            return bound
        return found

    def bound(self, node: gs.Node, found: Columns, seen: Seen) -> Columns | Reason | None:
        """How the output lies in time where a constant differs from column to column; None where none does."""
        rank = len(node.outputs[0].shape)
        others = [one for one in node.inputs if seen.of(one) is None and not one.is_empty()]
        differing = [one for one in others if columns_of(one, found.axis, rank) > 1]
        if not differing:
            return None
        if any(constant_values(one) is None for one in differing):
            return Reason("what it reads beside differs from column to column")
        return positioned(found, node.name, seen)

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        view, rank = maker.seen.views[node.outputs[0].name], len(node.outputs[0].shape)
        keep = None if view.across is None else kept_scores(node, view)
        if keep is not None:
            bar(node, keep, maker)
            return
        inputs = together(node.inputs, view, maker)
        for place, one in enumerate(node.inputs):
            values = None if one.is_empty() or maker.seen.of(one) is not None else constant_values(one)
            if values is not None and node.op not in QUANTIZERS and columns_of(one, view.axis, rank) > 1:
                inputs[place] = row_of(maker, one, values, view.axis - (rank - values.ndim))
        maker.same(node, inputs)


def has_axis(node: gs.Node, axis: int) -> bool:
    """Whether scales of a quantizer belong to indices along `axis`."""
    sizes = [int(size) for size in node.inputs[1].shape]
    along = int(node.attrs.get("axis", 1)) % len(node.outputs[0].shape)
    return sizes != [1] and along == axis


def columns_of(tensor: gs.Tensor, axis: int, rank: int) -> int:
    """How many columns a tensor that is broadcast to `rank` axes has."""
    place = axis - (rank - len(tensor.shape or ()))
    return int(tensor.shape[place]) if place >= 0 else 1


def latest(views: Sequence[Columns]) -> Columns:
    """How what is computed of all lies in time."""
    late, edge = max(views, key=lambda one: one.late), max(views, key=lambda one: one.edge)
    return replace(
        views[0],
        late=late.late,
        late_by=late.late_by,
        edge=edge.edge,
        edge_by=edge.edge_by,
        bound=any(one.bound for one in views),
        unlike=next((one.unlike for one in views if one.unlike), ""),
    )


def together(inputs: Sequence[gs.Tensor], wanted: Columns, maker: StepMaker) -> list[gs.Tensor]:
    """The columns of all `inputs` that belong together: those that are early wait."""
    found = []
    for one in inputs:
        view = maker.seen.of(one)
        wait = 0 if view is None else wanted.late - view.late
        found.append(maker.delayed(one, wait) if wait else maker.take(one))
    return found


class StepAlongOthers(StepRule):
    """Along axes that are not time's."""

    operators: ClassVar = (
        REDUCTIONS | ALL_BEHIND | GLOBAL | words("ArgMax ArgMin Hardmax LogSoftmax LpNormalization RoundRows Softmax")
    )

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        ((tensor, view), *others) = seen.timed(node)
        if others or tensor is not node.inputs[0]:
            return Reason("its parameters are computed from the input")
        axes = axes_of(node)
        if axes is None:
            return Reason("its axes are computed")
        if view.axis in axes:
            return Reason(f"its {node.op} is over all columns")
        if view.across is not None:
            if view.unseen is not Unseen.BARRED or axes != {view.across}:
                return Reason("its scores are of columns that have not come, too: it has no causal mask")
            return replace(view, unseen=Unseen.ZERO)
        drops = node.op in REDUCTIONS | words("ArgMax ArgMin") and not node.attrs.get("keepdims", 1)
        return view.at(view.axis - sum(axis < view.axis for axis in axes)) if drops else view

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        maker.same(node)


def axes_of(node: gs.Node) -> set[int] | None:
    """The axes that a node works along; None where they are computed."""
    rank = len(node.inputs[0].shape)
    if node.op in GLOBAL:
        return set(range(2, rank))
    if node.op in ALL_BEHIND:
        return set(range(int(node.attrs.get("axis", -1)) % rank, rank))
    if node.op not in REDUCTIONS:
        default = 0 if node.op in ("ArgMax", "ArgMin") else -1
        return {int(node.attrs.get("axis", default)) % rank}
    if "axes" in node.attrs:
        return {int(axis) % rank for axis in node.attrs["axes"]}
    if len(node.inputs) < 2 or node.inputs[1].is_empty():
        return set() if node.attrs.get("noop_with_empty_axes", 0) else set(range(rank))
    given = integers(node.inputs[1])
    if given == ():
        return set() if node.attrs.get("noop_with_empty_axes", 0) else set(range(rank))
    return None if given is None else {axis % rank for axis in given}


class StepProduct(StepRule):
    """A product by weights: each column is a row of the factor, or a column of it."""

    operators: ClassVar = words("Gemm MatMul")

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        timed = seen.timed(node)
        if len(timed) > 1:
            return attend(node, seen)
        ((tensor, view),) = timed
        place = next(index for index, one in enumerate(node.inputs) if one is tensor)
        if node.op == "Gemm":
            return self.gemm(node, place, view)
        rank, own = len(node.outputs[0].shape), len(tensor.shape)
        summed = own - 1 if place == 0 or own == 1 else own - 2
        if view.axis == summed:
            return Reason("it sums over all columns")
        if view.across is not None and view.unseen is not Unseen.ZERO:
            return Reason("it sums over columns that have not come: their shares are not 0")
        axis = view.axis + rank - own if own > 1 and len(node.inputs[1 - place].shape) > 1 else view.axis
        other = node.inputs[1 - place]
        if axis < rank - 2 and columns_of(other, axis, rank) > 1:
            return Reason("a factor of it differs from column to column")
        return replace(view.at(axis), across=None)

    def gemm(self, node: gs.Node, place: int, view: Columns) -> Columns | Reason:
        turned = bool(node.attrs.get("transA" if place == 0 else "transB", 0))
        free = (place == 0) == (not turned)  # the axis that is not summed over: the first of A, the second of B
        if place == 2 or view.axis != (0 if free else 1):
            return Reason("it sums over all columns")
        bias = node.inputs[2] if len(node.inputs) > 2 and not node.inputs[2].is_empty() else None
        if bias is not None and columns_of(bias, place, 2) > 1:
            return Reason("its bias differs from column to column")
        return view.at(place)

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        if len(maker.seen.timed(node)) > 1:
            role: Role = "values" if maker.seen.views[node.outputs[0].name].across is None else "keys"
            maker.same(node, [maker.take(node.inputs[0]), kept_rows(maker, node.inputs[1], role)])
        else:
            maker.same(node)
