"""Fold Mul, Div, Add and Sub by constants per channel into the convolution or Gemm that feeds them.

    (x * W + b) * k + t == x * (W * k) + (b * k + t)        k, t per output channel

tf2onnx and hand-written exporters leave biases and decomposed BatchNormalizations in this form.
Exact in real arithmetic; in float32 the outputs move by a few units in the last place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.linear import LINEAR, absorb, channels, find_linear
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import Array, producer, static_shape, values

OPERATORS = {"Mul", "Div", "Add", "Sub"}


class AffineMatch(NamedTuple):
    linear: gs.Node
    scale: Array  # one number per output channel
    shift: Array


@dataclass(frozen=True)
class FoldAffine(Pass):
    name: ClassVar[str] = "fold-affine"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        notes = []
        modified = False
        for node in graph.toposort().nodes:
            if node.op not in OPERATORS or not node.outputs or not any(map(reads_float_constant, node.inputs)):
                continue
            found = find(graph, node)
            if found is None:
                continue
            reason = fold(graph, node, found) if isinstance(found, AffineMatch) else found
            if isinstance(found, AffineMatch) and reason is None:
                notes.append(self.note(found.linear.name, "changed", f"absorbed {node.name} ({node.op})"))
                modified = True
            else:
                notes.append(self.note(node.name, "stays", f"{node.op} by a constant stays: {reason}"))
        return work.result(modified, notes)


def reads_float_constant(tensor: gs.Tensor) -> bool:
    array = values(tensor)
    return array is not None and array.dtype.kind == "f"


def find(graph: gs.Graph, node: gs.Node) -> AffineMatch | str | None:
    """What to fold where, or why not; None where nothing linear is near."""
    place = 1 if reads_float_constant(node.inputs[1]) else 0
    operand, source = node.inputs[place].values, node.inputs[1 - place]
    maker = producer(source)
    if maker is None or maker.op not in LINEAR:
        return None
    if node.op == "Div" and place == 0:
        return "it divides the constant"
    linear = find_linear(graph, source)
    if isinstance(linear, str):
        return linear
    vector = per_channel(operand, static_shape(source), static_shape(node.outputs[0]), channels(linear))
    if vector is None:
        return f"its constant of shape {list(operand.shape)} is not one number per channel"
    return AffineMatch(linear, *scale_and_shift(node.op, vector, subtracted=place == 1))


def per_channel(
    operand: Array, shape: tuple[int, ...] | None, result: tuple[int, ...] | None, count: int
) -> Array | None:
    """The operand as one number per channel (axis 1), or None where it varies elsewhere or widens the shape."""
    if shape is None or shape != result:
        return None
    padded = (1,) * (len(shape) - operand.ndim) + operand.shape
    if any(size != 1 for axis, size in enumerate(padded) if axis != 1):
        return None
    return np.broadcast_to(operand.astype(np.float64).reshape(-1), (count,))


def scale_and_shift(op: str, operand: Array, subtracted: bool) -> tuple[Array, Array]:
    """(k, t) with op(x, operand) == x * k + t; Sub with `subtracted` false is operand - x."""
    ones, zeros = np.ones_like(operand), np.zeros_like(operand)
    match op:
        case "Mul":
            return operand, zeros
        case "Div":
            with np.errstate(divide="ignore"):
                return 1 / operand, zeros
        case "Add":
            return ones, operand
    return (ones, -operand) if subtracted else (-ones, operand)


def fold(graph: gs.Graph, node: gs.Node, match: AffineMatch) -> str | None:
    if reason := absorb(graph, match.linear, match.scale, match.shift):
        return reason
    result = node.outputs[0]
    node.outputs.clear()
    match.linear.outputs = [result]
    node.inputs.clear()
    return None
