"""What operators that only move elements do, done to an array of labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import given, integers, static_shape
from bevel.passes.transform.gauges import Labels

Moved = list[Labels] | None


def moved(node: gs.Node, given_labels: Sequence[Labels]) -> Moved:
    """The labels of each output; None where constants do not say where elements go."""
    return MOVED[node.op](node, given_labels)


def reshape(node: gs.Node, labels: Sequence[Labels]) -> Moved:
    return [labels[0].reshape(static_shape(node.outputs[0]) or ())]


def transpose(node: gs.Node, labels: Sequence[Labels]) -> Moved:
    rank = labels[0].ndim
    return [labels[0].transpose(node.attrs.get("perm", range(rank)[::-1]))]


def cut(node: gs.Node, labels: Sequence[Labels]) -> Moved:
    """Slice."""
    x = labels[0]
    starts, ends = (integers(given(node, place)) for place in (1, 2))
    if starts is None or ends is None:
        return None
    axes = integers(given(node, 3)) if given(node, 3) is not None else tuple(range(len(starts)))
    steps = integers(given(node, 4)) if given(node, 4) is not None else (1,) * len(starts)
    if axes is None or steps is None:
        return None
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis]
        first = start + size if start < 0 else start
        last = end + size if end < 0 else end
        low = min(max(first, 0), size if step > 0 else size - 1)
        high = min(max(last, 0 if step > 0 else -1), size)
        x = x.take(np.arange(low, high, step), axis)
    return [x]


def split(node: gs.Node, labels: Sequence[Labels]) -> Moved:
    axis = int(node.attrs.get("axis", 0))
    sizes = [int(one.shape[axis]) for one in node.outputs]
    return list(np.split(labels[0], np.cumsum(sizes)[:-1], axis))


def concat(node: gs.Node, labels: Sequence[Labels]) -> Moved:
    return [np.concatenate(labels, int(node.attrs["axis"]))]


def tile(node: gs.Node, labels: Sequence[Labels]) -> Moved:
    repeats = integers(given(node, 1))
    return None if repeats is None else [np.tile(labels[0], repeats)]


def expand(node: gs.Node, labels: Sequence[Labels]) -> Moved:
    return [np.broadcast_to(labels[0], static_shape(node.outputs[0]) or ())]


def gather(node: gs.Node, labels: Sequence[Labels]) -> Moved:
    """By constant indices from a tensor; rows of a constant bear no scale."""
    places = node.inputs[1]
    if isinstance(node.inputs[0], gs.Constant) or not isinstance(places, gs.Constant):
        return None
    return [labels[0].take(np.asarray(places.values), int(node.attrs.get("axis", 0)))]


def pad(node: gs.Node, labels: Sequence[Labels]) -> Moved:
    """Zeros bear any scale, so that of their neighbours; other numbers bear none."""
    pads, fill = integers(given(node, 1)), given(node, 2)
    rank = labels[0].ndim
    filled = node.attrs.get("mode", "constant") == "constant"
    zero = fill is None or (isinstance(fill, gs.Constant) and not np.any(fill.values))
    if pads is None or given(node, 3) is not None or min(pads) < 0 or (filled and not zero):
        return None
    mode = "edge" if filled else str(node.attrs["mode"])  # the others are called the same in numpy
    widths = list(zip(pads[:rank], pads[rank:], strict=True))
    return [np.pad(labels[0], widths, mode=mode)]  # type: ignore[call-overload]  # a literal of numpy's


MOVED: dict[str, Callable[[gs.Node, Sequence[Labels]], Moved]] = {
    "Reshape": reshape,
    "Flatten": reshape,
    "Squeeze": reshape,
    "Unsqueeze": reshape,
    "Transpose": transpose,
    "Slice": cut,
    "Split": split,
    "Concat": concat,
    "Tile": tile,
    "Expand": expand,
    "Gather": gather,
    "Pad": pad,
}
MOVES = frozenset(MOVED)
