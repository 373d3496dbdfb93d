"""Scale and move the parts of a Concat each for itself, where a constant treats them unlike.

    concat(a, b) * c == concat(a * c_a, b * c_b)        likewise Add, Sub and Div by a constant

A model that joins quantities of unlike units (pascals beside degrees, coordinates beside visibilities) and then brings
them to their sizes with one constant for each index has one tensor between that holds both: whatever its scale, the
small ones are lost. Before the Concat each part keeps its own, and the constant joins what makes the part, where it
can. A Transpose between stays behind it. Price: a node for each part where there was one. Exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import (
    Array,
    alive,
    append,
    constant,
    detach,
    producer,
    read_once,
    static_shape,
    variable,
)
from bevel.passes.graph.quantizers import is_dequantize, is_quantize

OPERATORS = ("Add", "Div", "Mul", "Sub")
UNLIKE = 4.0  # between the constants of two parts: two of eight bits


@dataclass(frozen=True)
class Scaled:
    """A Concat that one elementwise node alone reads, perhaps through a Transpose; pieces: the node's constant for each
    part, as the Concat has its dimensions; place: its input."""

    concat: gs.Node
    node: gs.Node
    place: int
    pieces: tuple[Array, ...]
    transpose: gs.Node | None = None


@dataclass(frozen=True)
class ScaleBeforeConcat(Pass):
    """Models that came quantized keep their scales."""

    name: ClassVar[str] = "scale-before-concat"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        if any(is_quantize(node) or is_dequantize(node) for node in graph.nodes):
            return work.result(False)
        notes = []
        for node in alive(graph):
            scaled = find(graph, node)
            if scaled is not None and are_unlike(scaled.pieces):
                change(graph, scaled)
                text = f"computed for each part of {scaled.concat.name}: its constants differ"
                notes.append(self.note(node.name, "changed", text))
        return work.result(bool(notes), notes)


def find(graph: gs.Graph, node: gs.Node) -> Scaled | None:
    if node.op not in OPERATORS or len(node.inputs) != 2 or node.outputs[0].dtype != np.float32:
        return None
    for place in (0, 1):
        joined, factor = node.inputs[1 - place], node.inputs[place]
        before, shape = producer(joined), static_shape(joined)
        if not isinstance(factor, gs.Constant) or before is None or shape is None or not read_once(graph, joined):
            continue
        transpose = before if before.op == "Transpose" and read_once(graph, before.inputs[0]) else None
        concat = before if transpose is None else producer(before.inputs[0])
        if concat is None or concat.op != "Concat" or static_shape(node.outputs[0]) != shape:
            continue
        along = np.asarray(factor.values).reshape((1,) * (len(shape) - factor.values.ndim) + factor.values.shape)
        if transpose is not None:
            along = along.transpose(np.argsort(transpose.attrs.get("perm", range(len(shape))[::-1])))
        pieces = split(along, concat)
        return None if pieces is None else Scaled(concat, node, place, pieces, transpose)
    return None


def split(along: Array, concat: gs.Node) -> tuple[Array, ...] | None:
    """The part of the constant for each part of the Concat; None where one serves all, or a shape is unknown."""
    axis, shapes = int(concat.attrs["axis"]) % along.ndim, [static_shape(part) for part in concat.inputs]
    if along.shape[axis] == 1 or not all(isinstance(part, gs.Variable) for part in concat.inputs):
        return None
    ends = np.cumsum([0 if shape is None else shape[axis] for shape in shapes])
    return tuple(np.split(along, ends[:-1], axis)) if ends[-1] == along.shape[axis] else None


def are_unlike(pieces: tuple[Array, ...]) -> bool:
    largest = [float(np.abs(piece).max(initial=0.0)) for piece in pieces]
    return max(largest) > UNLIKE * min(largest)


def change(graph: gs.Graph, scaled: Scaled) -> None:
    node, concat, result = scaled.node, scaled.concat, scaled.node.outputs[0]
    op, name, axis, parts = node.op, node.name, int(concat.attrs["axis"]), list(concat.inputs)
    detach(node)
    made = []
    for number, (part, piece) in enumerate(zip(parts, scaled.pieces, strict=True)):
        operand = constant(graph, f"{name}.constant{number}", piece)
        moved = variable(graph, f"{name}.part{number}", np.float32, static_shape(part) or ())
        append(graph, op, f"{name}.part{number}", [operand, part] if scaled.place == 0 else [part, operand], moved)
        made.append(moved)
    title, joined = concat.name, concat.outputs[0]
    detach(concat)
    if scaled.transpose is not None:
        scaled.transpose.outputs, result = [result], joined
    append(graph, "Concat", title, made, result, {"axis": axis})
