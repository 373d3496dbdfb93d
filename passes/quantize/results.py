"""The results that a model is judged by: floats, before what only ranks or normalizes them (Softmax, ArgMax)."""

from __future__ import annotations

from itertools import chain
from math import prod
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.graph.edit import producer

RANKING = frozenset(
    {"Softmax", "LogSoftmax", "ArgMax", "ArgMin", "Identity", "Reshape"}
)  # the results lie before these
ROOM = 2**25  # numbers of the samples' inputs and results that may be held


def results_of(graph: gs.Graph) -> list[str]:
    """The tensors that are the float results of `graph`."""
    found: dict[str, None] = {}
    for tensor in graph.outputs:
        while (made := producer(tensor)) is not None and made.op in RANKING:
            tensor = made.inputs[0]
        if producer(tensor) is not None and tensor.dtype == np.float32:
            found[tensor.name] = None
    return list(found)


def floats_of(graph: gs.Graph) -> int:
    """How many numbers a sample and its results are."""
    return sum(prod(map(int, tensor.shape)) for tensor in chain(graph.inputs, graph.outputs))


def power(true: NDArray[Any]) -> float:
    """The sum of squares of what the float model makes, where that is finite."""
    return float(np.square(true[np.isfinite(true)].astype(np.float64)).sum())


def error_power(found: NDArray[Any], true: NDArray[Any]) -> float:
    """Of `found - true`, never nan: where `true` is not finite there is no error; inf where only `found` is not."""
    known = np.isfinite(true)
    if not np.isfinite(found[known]).all():
        return np.inf
    return float(np.square((found[known] - true[known]).astype(np.float64)).sum())
