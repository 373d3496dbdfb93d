"""Which axes a reduction runs over, and how they lie in memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Match, Reason
from bevel.passes.operators.lowering import Lowering, Order, Value


@dataclass(frozen=True)
class LaidRows:
    """x as a reduction's kernel reads it: [outer, reduced, inner] in `buffer`; `order` is its result's."""

    buffer: str
    outer: int
    reduced: int
    inner: int
    order: Order


def laid(node: gs.Node, axes: set[int], keepdims: bool, lowering: Lowering) -> LaidRows:
    """The first input of `node` with the reduced axes side by side, moved if they are not."""
    x = node.inputs[0]
    value = lowering.value(x)
    if not axes:  # of a scalar: each element is a reduction of its own
        return LaidRows(value.buffer, prod(value.shape), 1, 1, value.order)
    order = gathered(value, axes)
    source = lowering.reorder(value, order, x.name)
    places = [place for place, axis in enumerate(order) if axis in axes]
    return LaidRows(
        source.buffer,
        prod(source.stored[: places[0]]),
        prod(source.stored[place] for place in places),
        prod(source.stored[places[-1] + 1 :]),
        order if keepdims else without(order, axes),
    )


def reduced_axes(node: gs.Node) -> tuple[int, ...] | None:
    """The axes a reduction runs over, non-negative and sorted; None where they are computed."""
    rank = len(node.inputs[0].shape)
    if node.op == "GlobalAveragePool":
        return tuple(range(2, rank))
    given = node.attrs.get("axes")
    if len(node.inputs) > 1 and not node.inputs[1].is_empty():
        if not isinstance(node.inputs[1], gs.Constant):
            return None
        given = node.inputs[1].values
    if given is None or len(given) == 0:
        return None if node.attrs.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in given))


def matched_reduction(node: gs.Node) -> Match | Reason:
    if reduced_axes(node) is None:
        return Reason("its axes are computed")
    return Match(node, tuple(node.inputs[:1]))


def gathered(value: Value, axes: set[int]) -> Order:
    """The value's order if the reduced axes lie side by side in it, else one with them last."""
    order = value.order
    places = [place for place, axis in enumerate(order) if axis in axes]
    between = [order[place] for place in range(places[0], places[-1] + 1)]
    if all(axis in axes or value.shape[axis] == 1 for axis in between):
        return order
    return (*(axis for axis in order if axis not in axes), *(axis for axis in order if axis in axes))


def without(order: Order, axes: set[int]) -> Order:
    """`order` after the reduced axes are gone and the rest renumbered."""
    kept = sorted(axis for axis in order if axis not in axes)
    return tuple(kept.index(axis) for axis in order if axis not in axes)
