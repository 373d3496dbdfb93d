"""Sums, products and moves of reals, in numpy: what a few nodes make of given tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.graph.edit import producer
from bevel.passes.operators.moves.slice import slice_windows

Reals = NDArray[np.float64]
MOVES = frozenset(
    {"Concat", "Identity", "Neg", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)  # and signs


def evaluated(tensor: gs.Tensor, given: Mapping[str, Reals]) -> Reals:
    """The value of `tensor`, whose makers are nodes of this file down to constants and `given`, by name.

    Raises ValueError for other nodes.
    """
    known: dict[str, Reals] = dict(given)

    def value(one: gs.Tensor) -> Any:
        if isinstance(one, gs.Constant):
            return np.asarray(one.values)
        if one.name not in known:
            node = producer(one)
            if node is None or node.op not in OPERATORS:
                raise ValueError(f"{one.name} is not known")
            inputs = [None if source.is_empty() else value(source) for source in node.inputs]
            made = OPERATORS[node.op](node, inputs)
            known.update(zip((output.name for output in node.outputs), made, strict=True))
        return known[one.name]

    return np.asarray(value(tensor), np.float64)


def split(node: gs.Node, inputs: list[Any]) -> list[Any]:
    axis = int(node.attrs.get("axis", 0))
    ends = np.cumsum([int(output.shape[axis]) for output in node.outputs])[:-1]
    return np.split(inputs[0], ends, axis)


def sliced(node: gs.Node, inputs: list[Any]) -> list[Any]:
    x, *bounds = inputs
    for axis, (start, size, step) in enumerate(slice_windows(x.shape, *bounds)):
        x = x.take(range(start, start + size * step, step), axis)
    return [x]


def shaped(node: gs.Node, inputs: list[Any]) -> list[Any]:
    """What only changes the shape: to the shape that inference found."""
    return [inputs[0].reshape([int(size) for size in node.outputs[0].shape])]


OPERATORS: Mapping[str, Callable[[gs.Node, list[Any]], list[Any]]] = {
    "Add": lambda node, inputs: [inputs[0] + inputs[1]],
    "Concat": lambda node, inputs: [np.concatenate(inputs, int(node.attrs["axis"]))],
    "Identity": lambda node, inputs: [inputs[0]],
    "Mul": lambda node, inputs: [inputs[0] * inputs[1]],
    "Neg": lambda node, inputs: [-inputs[0]],
    "Reshape": shaped,
    "Slice": sliced,
    "Split": split,
    "Squeeze": shaped,
    "Sub": lambda node, inputs: [inputs[0] - inputs[1]],
    "Transpose": lambda node, inputs: [inputs[0].transpose(node.attrs.get("perm", range(inputs[0].ndim)[::-1]))],
    "Unsqueeze": shaped,
}
