"""The root of a sum of two squares is a Euclidean norm of pairs: ReduceL2, whose integers are exact up to its root.

    Sqrt (Add (a * a, b * b))  ==  ReduceL2 ([a, b], the axis of the pair)

The magnitude of a spectrum, spelled so by every model that begins with one. As squares, numbers span twice as many
binades, and small ones are lost however many bits each sum has. Squares are Pow by 2 or Mul of a tensor by itself. The
pair is a Concat along an axis of its own; where a and b are the halves of one tensor, cut alike afterwards, it is that
tensor in another shape. Exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import (
    alive,
    append,
    constant,
    detach,
    given,
    integers,
    producer,
    read_once,
    scalar,
    static_shape,
    variable,
)


class Cut(NamedTuple):
    """What a Slice takes of one axis: from, to, every step."""

    axis: int
    start: int
    end: int
    step: int


class Paired(NamedTuple):
    """Two tensors as one, with the axis that tells them apart."""

    tensor: gs.Tensor
    axis: int


@dataclass(frozen=True)
class SpellMagnitudes(Pass):
    name: ClassVar[str] = "spell-magnitudes"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph, notes = work.graph, []
        for node in alive(graph):
            found = squared_pair(graph, node)
            if found is None:
                continue
            spell(graph, node, *found)
            notes.append(self.note(node.name, "changed", "became ReduceL2, with the squares and the sum before it"))
        return work.result(bool(notes), notes)


def squared_pair(graph: gs.Graph, node: gs.Node) -> tuple[gs.Tensor, gs.Tensor] | None:
    """The tensors whose squares' sum a Sqrt is of, where nothing else reads what lies between."""
    summed = producer(node.inputs[0]) if node.op == "Sqrt" and not node.domain else None
    if summed is None or summed.op != "Add" or not read_once(graph, node.inputs[0]):
        return None
    a, b = (root_of(graph, tensor) for tensor in summed.inputs)
    shape = None if a is None else static_shape(a)
    if a is None or b is None or shape is None or 0 in shape or shape != static_shape(b):
        return None
    return (a, b) if a.dtype == np.float32 else None


def root_of(graph: gs.Graph, tensor: gs.Tensor) -> gs.Tensor | None:
    """What `tensor` is the square of, where only one node reads it; an exponent of more axes would add them."""
    node = producer(tensor)
    if node is None or not read_once(graph, tensor):
        return None
    squares = (node.op == "Pow" and scalar(node.inputs[1]) == 2.0) or (
        node.op == "Mul" and node.inputs[0] is node.inputs[1]
    )
    root: gs.Tensor = node.inputs[0]
    alike = static_shape(root) == static_shape(tensor)
    return root if squares and alike and not isinstance(root, gs.Constant) else None


def spell(graph: gs.Graph, node: gs.Node, a: gs.Tensor, b: gs.Tensor) -> None:
    result, name = node.outputs[0], node.name
    pair = joined(graph, name, a, b)
    detach(node)
    axes = constant(graph, f"{name}.axes", np.array([pair.axis], np.int64))
    append(graph, "ReduceL2", name, [pair.tensor, axes], result, {"keepdims": 0})


def joined(graph: gs.Graph, name: str, a: gs.Tensor, b: gs.Tensor) -> Paired:
    """The halves of a tensor as that tensor, where they are, or both side by side."""
    return halves(graph, name, a, b) or cut_alike(graph, name, a, b) or stacked(graph, name, a, b)


def halves(graph: gs.Graph, name: str, a: gs.Tensor, b: gs.Tensor) -> Paired | None:
    first, second = cut_of(a), cut_of(b)
    if first is None or second is None or a.inputs[0].inputs[0] is not b.inputs[0].inputs[0]:
        return None
    source = a.inputs[0].inputs[0]
    shape = static_shape(source) or ()
    size = shape[first.axis]
    if (first, second) != (Cut(first.axis, 0, size // 2, 1), Cut(first.axis, size // 2, size, 1)) or size % 2:
        return None
    split = (*shape[: first.axis], 2, size // 2, *shape[first.axis + 1 :])
    pair = variable(graph, f"{name}.pair", source.dtype, split)
    append(graph, "Reshape", pair.name, [source, constant(graph, f"{name}.split", np.array(split, np.int64))], pair)
    return Paired(pair, first.axis)


def cut_alike(graph: gs.Graph, name: str, a: gs.Tensor, b: gs.Tensor) -> Paired | None:
    """Slices that cut halves of one tensor alike, as one Slice of the pair."""
    first, second = cut_of(a), cut_of(b)
    if first is None or first != second:
        return None
    sources = a.inputs[0].inputs[0], b.inputs[0].inputs[0]
    if static_shape(sources[0]) != static_shape(sources[1]):
        return None
    whole = halves(graph, name, *sources) or cut_alike(graph, name, *sources)
    if whole is None:
        return None
    axis = first.axis + (whole.axis <= first.axis)
    shape = list(static_shape(whole.tensor) or ())
    shape[axis] = len(range(first.start, first.end, first.step))
    result = variable(graph, f"{name}.cut", a.dtype, shape)
    numbers = (("start", first.start), ("end", first.end), ("axis", axis), ("step", first.step))
    bounds = [constant(graph, f"{result.name}.{role}", np.array([value], np.int64)) for role, value in numbers]
    append(graph, "Slice", result.name, [whole.tensor, *bounds], result)
    return Paired(result, whole.axis)


def stacked(graph: gs.Graph, name: str, a: gs.Tensor, b: gs.Tensor) -> Paired:
    """Both along a new first axis but that of the batch."""
    shape = static_shape(a) or ()
    axis = min(1, len(shape))
    parts = []
    for place, tensor in enumerate((a, b)):
        one = (*shape[:axis], 1, *shape[axis:])
        part = variable(graph, f"{name}.part_{place}", tensor.dtype, one)
        target = constant(graph, f"{part.name}.shape", np.array(one, np.int64))
        append(graph, "Reshape", part.name, [tensor, target], part)
        parts.append(part)
    pair = variable(graph, f"{name}.pair", a.dtype, (*shape[:axis], 2, *shape[axis:]))
    append(graph, "Concat", pair.name, parts, pair, {"axis": axis})
    return Paired(pair, axis)


def cut_of(tensor: gs.Tensor) -> Cut | None:
    """What the Slice takes that makes a tensor, where that is of one axis, forwards."""
    node = producer(tensor)
    if node is None or node.op != "Slice" or node.domain:
        return None
    shape = static_shape(node.inputs[0])
    starts, ends = integers(given(node, 1)), integers(given(node, 2))
    if shape is None or starts is None or ends is None or len(starts) != 1:
        return None
    axes, steps = (integers(given(node, place)) for place in (3, 4))
    axis = (axes or (0,))[0] % len(shape)
    step = (steps or (1,))[0]
    if step < 1:
        return None
    start, end, _ = slice(starts[0], ends[0], step).indices(shape[axis])
    return Cut(axis, start, end, step)
