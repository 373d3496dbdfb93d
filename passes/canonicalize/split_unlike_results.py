"""Compute results of unlike size apart, where one node makes them and they leave the model.

    gemm(x, [w1 w2], [b1 b2]) == concat(gemm(x, w1, b1), gemm(x, w2, b2))
    x * [c1 c2]               == concat(x1 * c1, x2 * c2)                   likewise Div

A latitude beside a deviation of metres, pixels beside a probability: one scale for all leaves the small ones no codes.
Behind a Concat each part has its own (`bevel.passes.quantize.part_results`). How large a column becomes is told by its
weights and bias, or by the constant. Price: a node for each run of like columns, and the moves to join them. Exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import Array, alive, append, constant, detach, is_output, static_shape, variable
from bevel.passes.graph.quantizers import is_dequantize, is_quantize

LIKE = 4.0  # between the sizes of columns that share a scale: two of eight bits
UNLIKE = 8.0  # between the largest and the smallest, for splitting to be worth its price
MOST = 8  # runs: more are no few results but a pattern
MOVES = ("Concat", "Identity", "Reshape", "Transpose")


@dataclass(frozen=True)
class ColumnRuns:
    """The columns of a node's result along `axis`, in runs that end before `ends`."""

    node: gs.Node
    axis: int
    ends: tuple[int, ...]

    def slices(self) -> Iterator[slice]:
        yield from (slice(a, b) for a, b in zip((0, *self.ends[:-1]), self.ends, strict=True))


@dataclass(frozen=True)
class SplitUnlikeResults(Pass):
    """Models that came quantized keep their scales."""

    name: ClassVar[str] = "split-unlike-results"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        if any(is_quantize(node) or is_dequantize(node) for node in graph.nodes):
            return work.result(False)
        notes = []
        for node in alive(graph):
            found = find(graph, node)
            if found is not None:
                change(graph, found)
                text = f"computed in {len(found.ends)} parts: its columns differ so much in size"
                notes.append(self.note(node.name, "changed", text, parts=len(found.ends)))
        return work.result(bool(notes), notes)


def find(graph: gs.Graph, node: gs.Node) -> ColumnRuns | None:
    if node.op not in ("Gemm", "Mul", "Div") or not leaves(graph, node.outputs[0]):
        return None
    sized = columns_of_gemm(node) if node.op == "Gemm" else columns_of_factor(node)
    if sized is None:
        return None
    axis, sizes = sized
    ends = runs_of(sizes)
    return ColumnRuns(node, axis, ends) if 1 < len(ends) <= MOST else None


def leaves(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    """Whether floats leave the model, and are read by nothing but what moves them there."""
    if tensor.dtype != np.float32 or not (is_output(graph, tensor) or tensor.outputs):
        return False
    return all(reader.op in MOVES and leaves(graph, reader.outputs[0]) for reader in tensor.outputs)


def columns_of_gemm(node: gs.Node) -> tuple[int, Array] | None:
    constants = node.inputs[1:]
    if node.attrs or len(constants) != 2 or not all(isinstance(one, gs.Constant) for one in constants):
        return None
    weights, bias = (np.asarray(one.values, np.float64) for one in constants)
    return (1, np.sqrt(np.square(weights).sum(0)) + np.abs(bias)) if bias.shape == weights.shape[1:] else None


def columns_of_factor(node: gs.Node) -> tuple[int, Array] | None:
    """The sizes of a constant that differs along one axis of what it multiplies or divides."""
    x, factor = node.inputs
    if node.op == "Mul" and isinstance(x, gs.Constant):
        x, factor = factor, x
    shape = static_shape(x)
    if not isinstance(factor, gs.Constant) or shape is None or static_shape(node.outputs[0]) != shape:
        return None
    sizes = np.abs(np.asarray(factor.values, np.float64))
    sizes = sizes.reshape((1,) * (len(shape) - sizes.ndim) + sizes.shape)
    axes = [axis for axis, extent in enumerate(sizes.shape) if extent > 1]
    if len(axes) != 1 or not sizes.all():
        return None
    return axes[0], (sizes if node.op == "Mul" else 1 / sizes).reshape(-1)


def runs_of(sizes: Array) -> tuple[int, ...]:
    """The ends of runs of like sizes; a single one where all are near enough. A size of 0 is like any."""
    known = sizes[sizes > 0]
    if not known.size or known.max() < UNLIKE * known.min():
        return (len(sizes),)
    ends: list[int] = []
    low, high = np.inf, 0.0
    for place, size in enumerate(sizes):
        low, high = (min(low, size), max(high, size)) if size else (low, high)
        if high > LIKE * low:
            ends.append(place)
            low = high = size
    return (*ends, len(sizes))


def change(graph: gs.Graph, found: ColumnRuns) -> None:
    node, axis, name = found.node, found.axis, found.node.name
    op, inputs, result = node.op, list(node.inputs), node.outputs[0]
    shape = list(static_shape(result) or ())
    detach(node)
    parts = []
    for number, piece in enumerate(found.slices()):
        shape[axis] = piece.stop - piece.start
        title = f"{name}.columns{number}"
        part = variable(graph, title, np.float32, shape)
        operands = [
            given
            if op == "Gemm" and place == 0
            else cut(graph, given, len(shape), axis, piece, f"{title}.input{place}")
            for place, given in enumerate(inputs)
        ]
        append(graph, op, title, operands, part)
        parts.append(part)
    append(graph, "Concat", name, parts, result, {"axis": axis})


def cut(graph: gs.Graph, tensor: gs.Tensor, rank: int, axis: int, piece: slice, name: str) -> gs.Tensor:
    """Indices `piece` of `tensor` along `axis` of what it is broadcast to, of `rank`."""
    along = axis - rank  # from the end, where shapes of fewer dimensions meet
    if isinstance(tensor, gs.Constant):
        return constant(graph, name, np.take(tensor.values, range(piece.start, piece.stop), along))
    shape = list(static_shape(tensor) or ())
    shape[axis] = piece.stop - piece.start
    bounds = [
        constant(graph, f"{name}.{word}", np.array([value], np.int64))
        for word, value in (("start", piece.start), ("end", piece.stop), ("axis", axis), ("step", 1))
    ]
    result = variable(graph, name, np.float32, shape)
    append(graph, "Slice", name, [tensor, *bounds], result)
    return result
