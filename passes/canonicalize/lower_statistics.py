"""Compute an operator's further outputs by nodes of their own: only the first is known to what comes after.

    LayerNormalization    mean = mean(x), inverse deviation = 1 / sqrt(mean((x - mean)^2) + epsilon)
    Dropout, inference    mask = true everywhere
    BatchNormalization    in training mode, y by the batch's own mean and variance, and
                          running = input * momentum + batch * (1 - momentum)

As the ONNX operator specification defines them; sums are taken in another order. An export in training mode is mostly a
mistake, so that gets a note.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.errors import UserError
from bevel.passes.base import Condition, Note, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import (
    alive,
    append,
    constant,
    detach,
    given,
    is_output,
    scalar,
    static_shape,
    variable,
)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LowerStatistics(Pass):
    """Raises UserError for a Dropout that draws at random."""

    name: ClassVar[str] = "lower-statistics"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        notes: list[Note] = []
        modified = False
        for node in alive(graph):
            match node.op:
                case "LayerNormalization" if len(node.outputs) > 1:
                    split_layer_norm(graph, node)
                case "Dropout" if draws(node):
                    raise UserError(f"node {node.name} (Dropout) is in training mode; export the model for inference")
                case "Dropout" if len(node.outputs) > 1:
                    split_mask(graph, node)
                case "BatchNormalization" if trains(node):
                    lower_training(graph, node)
                    text = "is in training mode: it normalizes by each batch's own statistics"
                    notes.append(self.note(node.name, "warned", text))
                case _:
                    continue
            modified = True
        return work.result(modified, notes)


@dataclass(frozen=True)
class Builder:
    """Float nodes one after the other, named for the node they stand for."""

    graph: gs.Graph
    name: str

    def add(self, op: str, role: str, inputs: list[gs.Tensor], shape: Shape, **attrs: object) -> gs.Variable:
        result = variable(self.graph, f"{self.name}.{role}", np.float32, shape)
        append(self.graph, op, f"{self.name}.{role}", inputs, result, attrs)
        return result

    def number(self, role: str, value: float) -> gs.Constant:
        return constant(self.graph, f"{self.name}.{role}", np.array(value, np.float32))

    def mean(self, role: str, x: gs.Tensor, axes: list[int], shape: Shape) -> gs.Variable:
        places = constant(self.graph, f"{self.name}.{role}.axes", np.array(axes, np.int64))
        return self.add("ReduceMean", role, [x, places], shape, keepdims=1)

    def moments(self, x: gs.Tensor, axes: list[int]) -> tuple[gs.Variable, gs.Variable, gs.Variable]:
        """x less its mean, the mean, and the variance, reduced axes kept."""
        whole = static_shape(x) or ()
        reduced = tuple(1 if axis in axes else size for axis, size in enumerate(whole))
        mean = self.mean("mean", x, axes, reduced)
        centred = self.add("Sub", "centred", [x, mean], whole)
        squares = self.add("Mul", "squares", [centred, centred], whole)
        return centred, mean, self.mean("variance", squares, axes, reduced)

    def deviation(self, variance: gs.Variable, epsilon: float) -> gs.Variable:
        shape = static_shape(variance) or ()
        moved = self.add("Add", "moved", [variance, self.number("epsilon", epsilon)], shape)
        return self.add("Sqrt", "deviation", [moved], shape)

    def hand_on(self, role: str, source: gs.Tensor, output: gs.Tensor) -> None:
        append(self.graph, "Identity", f"{self.name}.{role}", [source], output)


def split_layer_norm(graph: gs.Graph, node: gs.Node) -> None:
    x, (_, *others) = node.inputs[0], list(node.outputs)
    rank = len(static_shape(x) or ())
    axes = list(range(node.attrs.get("axis", -1) % rank, rank))
    made = Builder(graph, node.name)
    _, mean, variance = made.moments(x, axes)
    deviation = made.deviation(variance, node.attrs.get("epsilon", 1e-5))
    inverse = made.add("Reciprocal", "inverse", [deviation], static_shape(deviation) or ())
    node.outputs = node.outputs[:1]
    for role, source, output in zip(("mean.output", "inverse.output"), (mean, inverse), others, strict=False):
        if not output.is_empty():
            made.hand_on(role, source, output)


def draws(dropout: gs.Node) -> bool:
    training, ratio = given(dropout, 2), given(dropout, 1)
    trains = training is not None and scalar(training) != 0
    return trains and (ratio is None or scalar(ratio) != 0)


def split_mask(graph: gs.Graph, dropout: gs.Node) -> None:
    mask = dropout.outputs[1]
    dropout.outputs = dropout.outputs[:1]
    if not mask.is_empty():
        kept = constant(graph, f"{dropout.name}.mask", np.ones(static_shape(dropout.inputs[0]) or (), np.bool_))
        append(graph, "Identity", f"{dropout.name}.mask.output", [kept], mask)


def trains(batchnorm: gs.Node) -> bool:
    return bool(batchnorm.attrs.get("training_mode", 0))


def lower_training(graph: gs.Graph, node: gs.Node) -> None:
    x, scale, bias, old_mean, old_variance = node.inputs
    whole = static_shape(x) or ()
    axes = [axis for axis in range(len(whole)) if axis != 1]
    channels = tuple(size if axis == 1 else 1 for axis, size in enumerate(whole))
    made = Builder(graph, node.name)
    centred, mean, variance = made.moments(x, axes)
    deviation = made.deviation(variance, node.attrs.get("epsilon", 1e-5))
    outputs, momentum = list(node.outputs), node.attrs.get("momentum", 0.9)
    detach(node)

    def reshaped(role: str, tensor: gs.Tensor, shape: Shape) -> gs.Variable:
        target = constant(graph, f"{node.name}.{role}.shape", np.array(shape, np.int64))
        return made.add("Reshape", role, [tensor, target], shape)

    normal = made.add("Div", "normal", [centred, deviation], whole)
    scaled = made.add("Mul", "scaled", [normal, reshaped("scale", scale, channels)], whole)
    append(graph, "Add", node.name, [scaled, reshaped("bias", bias, channels)], outputs[0])
    for role, old, new, output in zip(
        ("running_mean", "running_variance"), (old_mean, old_variance), (mean, variance), outputs[1:], strict=False
    ):
        if output.is_empty() or not (output.outputs or is_output(graph, output)):
            continue
        size = (whole[1],)
        kept = made.add("Mul", f"{role}.old", [old, made.number(f"{role}.momentum", momentum)], size)
        flat = reshaped(f"{role}.batch", new, size)
        added = made.add("Mul", f"{role}.new", [flat, made.number(f"{role}.rest", 1 - momentum)], size)
        append(graph, "Add", f"{node.name}.{role}", [kept, added], output)
