"""Operators that move elements, and keep the columns of time apart."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import integers, values
from bevel.passes.graph.regions import words
from bevel.passes.operators.base import Reason
from bevel.passes.step.anew import AnewMaker
from bevel.passes.step.base import Seen, StepMaker, StepRule
from bevel.passes.step.columns import Columns, Range, Reach, Stretch, slide
from bevel.passes.step.pointwise import latest, together


class StepTranspose(StepRule):
    operators: ClassVar = words("Transpose")

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        ((tensor, view),) = seen.timed(node)
        order = [int(axis) for axis in node.attrs.get("perm", range(len(tensor.shape))[::-1])]
        return view.at(order.index(view.axis))

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        maker.same(node)


class StepReshape(StepRule):
    """To a shape in which the columns still are an axis."""

    operators: ClassVar = words("Reshape Flatten Squeeze Unsqueeze")

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        tensor, view = seen.timed(node)[0]
        before, after = ([int(size) for size in one.shape] for one in (tensor, node.outputs[0]))
        outer = prod(before[: view.axis])
        for axis, size in enumerate(after):
            if size == view.length and prod(after[:axis]) == outer:
                return view.at(axis)
        return Reason("it merges columns with other elements")

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        shape = maker.shape(node.outputs[0])
        wanted = gs.Constant(f"{node.name}/step_shape", np.array(shape, np.int64))
        output = maker.new(node.outputs[0])
        maker.nodes.append(gs.Node("Reshape", node.name, {}, [maker.take(node.inputs[0]), wanted], [output]))


class StepRepeat(StepRule):
    """Expand and Tile, along other axes."""

    operators: ClassVar = words("Expand Tile")

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        tensor, view = seen.timed(node)[0]
        added = len(node.outputs[0].shape) - len(tensor.shape)
        if integers(node.inputs[1]) is None or int(node.outputs[0].shape[view.axis + added]) != view.length:
            return Reason("it repeats columns")
        return view.at(view.axis + added)

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        given = [maker.take(node.inputs[0]), node.inputs[1]]
        if node.op == "Expand":
            shape = np.array(maker.shape(node.outputs[0]), np.int64)
            given[1] = gs.Constant(f"{node.name}/step_shape", shape)
        maker.same(node, given)


class StepSlice(StepRule):
    """Along other axes, every column; along time, a window of one column that slides."""

    operators: ClassVar = words("Slice")

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        view = seen.timed(node)[0][1]
        cut = cut_of(node, view.axis)
        if cut is None:
            return Reason("it cuts where the input says")
        start, step = cut
        if step < 1:
            return Reason("it turns time around")
        length = int(node.outputs[0].shape[view.axis])
        return slide(view, Reach(1, step, -start), length, node.name).columns

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        tensor = node.inputs[0]
        view = maker.seen.views[tensor.name]
        start, step = cut_of(node, view.axis) or (0, 1)
        slid = slide(view, Reach(1, step, -start), int(node.outputs[0].shape[view.axis]), node.name)
        cut_out(node, maker, maker.recent(tensor, slid.kept), maker.tick.fresh(slid.columns))

    def reads(self, node: gs.Node, view: Columns, columns: Range) -> Stretch:
        start, step = cut_of(node, view.axis) or (0, 1)
        return Reach(1, step, -start).reads(columns, view.length)

    def covers(self, node: gs.Node, view: Columns, columns: Range) -> Range:
        start, step = cut_of(node, view.axis) or (0, 1)
        return Reach(1, step, -start).covers(columns)

    def anew(self, node: gs.Node, maker: AnewMaker) -> None:
        cut_out(node, maker, maker.take(node.inputs[0]), maker.columns[1] - maker.columns[0])


def cut_out(node: gs.Node, maker: StepMaker, source: gs.Tensor, count: int) -> None:
    """`count` columns of the result, of which `source` begins with the first."""
    view, rank = maker.seen.views[node.inputs[0].name], len(node.inputs[0].shape)
    _, step = cut_of(node, view.axis) or (0, 1)
    lists = dict(zip(("starts", "ends", "axes", "steps"), bounds_of(node), strict=True))
    if not cuts(node, view.axis):
        maker.same(node, [source, *map(maker.take, node.inputs[1:])])
        return
    place = [axis % rank for axis in lists["axes"]].index(view.axis)
    lists["starts"][place], lists["ends"][place] = 0, (count - 1) * step + 1
    given = [gs.Constant(f"{node.name}/{role}", np.array(one, np.int64)) for role, one in lists.items()]
    maker.same(node, [source, *given])


def bounds_of(node: gs.Node) -> tuple[list[int], list[int], list[int], list[int]]:
    """starts, ends, axes and steps of a Slice with constants."""
    found = [None if one.is_empty() else integers(one) for one in node.inputs[1:]]
    starts, ends = list(found[0] or ()), list(found[1] or ())
    axes = list(found[2]) if len(found) > 2 and found[2] is not None else list(range(len(starts)))
    steps = list(found[3]) if len(found) > 3 and found[3] is not None else [1] * len(starts)
    return starts, ends, axes, steps


def cuts(node: gs.Node, axis: int) -> bool:
    rank = len(node.inputs[0].shape)
    return axis in [one % rank for one in bounds_of(node)[2]]


def cut_of(node: gs.Node, axis: int) -> tuple[int, int] | None:
    """The first column and the step along `axis`; None where they are computed."""
    if any(not one.is_empty() and integers(one) is None for one in node.inputs[1:]):
        return None
    if not cuts(node, axis):
        return 0, 1
    rank, length = len(node.inputs[0].shape), int(node.inputs[0].shape[axis])
    starts, _, axes, steps = bounds_of(node)
    place = [one % rank for one in axes].index(axis)
    start = starts[place] + (length if starts[place] < 0 else 0)
    return min(max(start, 0), length), steps[place]


class StepPad(StepRule):
    """With zeros before the first column: what a state is where a sequence begins. Padding behind is late."""

    operators: ClassVar = words("Pad")

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        view = seen.timed(node)[0][1]
        found = pads_of(node)
        if found is None:
            return Reason("its padding is computed")
        before, behind = found[view.axis]
        if (before or behind) and not pads_zeros(node):
            return Reason("it pads columns with other values than 0")
        return slide(view, Reach(before=before), int(node.outputs[0].shape[view.axis]), node.name).columns

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        tensor, result = node.inputs[0], node.outputs[0]
        view, (before, _) = maker.seen.views[tensor.name], time_pads(node, maker)
        slid = slide(view, Reach(before=before), int(result.shape[view.axis]), node.name)
        source = maker.recent(tensor, slid.kept)
        if source.shape[view.axis] > maker.tick.fresh(slid.columns):
            source = maker.cut(tensor, f"{node.name}/step", source, view.axis, (0, maker.tick.fresh(slid.columns)))
        padded_beside(node, maker, source, (0, 0))

    def pads(self, node: gs.Node, view: Columns) -> bool:
        found = pads_of(node)
        return found is not None and found[view.axis][0] > 0

    def reads(self, node: gs.Node, view: Columns, columns: Range) -> Stretch:
        return self.reach(node, view).reads(columns, view.length)

    def covers(self, node: gs.Node, view: Columns, columns: Range) -> Range:
        return self.reach(node, view).covers(columns)

    def reach(self, node: gs.Node, view: Columns) -> Reach:
        found = pads_of(node)
        return Reach(before=0 if found is None else found[view.axis][0])

    def anew(self, node: gs.Node, maker: AnewMaker) -> None:
        span = maker.span(node.inputs[0])
        padded_beside(node, maker, maker.take(node.inputs[0]), (span.before, span.behind))


def time_pads(node: gs.Node, maker: StepMaker) -> tuple[int, int]:
    return (pads_of(node) or [])[maker.seen.views[node.inputs[0].name].axis]


def padded_beside(node: gs.Node, maker: StepMaker, source: gs.Tensor, columns: tuple[int, int]) -> None:
    """A Pad of `source` with so many columns before and behind, and along the other axes as ever."""
    found = dict(enumerate(pads_of(node) or ()))
    found[maker.seen.views[node.inputs[0].name].axis] = columns
    if not any(pad for pads in found.values() for pad in pads):
        maker.made[node.outputs[0].name] = source
        return
    both = [found[axis][side] for side in (0, 1) for axis in range(len(found))]
    pads = gs.Constant(f"{node.name}/pads", np.array(both, np.int64))
    maker.same(node, [source, pads, *map(maker.take, node.inputs[2:3])])


def pads_of(node: gs.Node) -> list[tuple[int, int]] | None:
    """Before and behind, of each axis; None where they are computed."""
    rank, pads = len(node.inputs[0].shape), integers(node.inputs[1])
    given = node.inputs[3] if len(node.inputs) > 3 and not node.inputs[3].is_empty() else None
    axes = range(rank) if given is None else integers(given)
    if pads is None or axes is None:
        return None
    found = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        found[axis % rank] = pads[place], pads[place + len(axes)]
    return found


def pads_zeros(node: gs.Node) -> bool:
    """Whether a Pad adds zeros."""
    value = node.inputs[2] if len(node.inputs) > 2 and not node.inputs[2].is_empty() else None
    held = None if value is None else values(value)
    constant = node.attrs.get("mode", "constant") in ("constant", b"constant")
    return constant and (value is None or (held is not None and not held.any()))


class StepConcat(StepRule):
    """Along another axis, columns that belong together."""

    operators: ClassVar = words("Concat")

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        timed = seen.timed(node)
        views = [view for _, view in timed]
        first = views[0]
        axis = int(node.attrs["axis"]) % len(node.outputs[0].shape)
        if axis == first.axis:
            return Reason("it puts columns before or behind others")
        if len(timed) < len(node.inputs):
            return Reason("it puts columns beside what has none")
        if any((one.axis, one.length, one.stride) != (first.axis, first.length, first.stride) for one in views):
            return Reason("what it reads lies in time in different ways")
        return latest(views)

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        maker.same(node, together(node.inputs, maker.seen.views[node.outputs[0].name], maker))


class StepSplit(StepRule):
    """Along another axis."""

    operators: ClassVar = words("Split")
    several: ClassVar = True

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        tensor, view = seen.timed(node)[0]
        if int(node.attrs.get("axis", 0)) % len(tensor.shape) == view.axis:
            return Reason("it takes columns apart")
        return view

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        maker.same(node)


class StepGather(StepRule):
    """Of indices along another axis; and rows of a table for indices that lie in time."""

    operators: ClassVar = words("Gather")

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        table, indices = node.inputs
        axis = int(node.attrs.get("axis", 0)) % len(table.shape)
        view, picked = seen.of(table), seen.of(indices)
        if view is not None and picked is not None:
            return Reason("both its table and its indices lie in time")
        if picked is not None:
            return picked.at(picked.axis + axis)
        assert view is not None, "one of them does"
        if view.axis == axis:
            return Reason("it picks columns")
        return view if view.axis < axis else view.at(view.axis + len(indices.shape) - 1)

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        maker.same(node)
