"""Rotations of the residual stream: one orthogonal matrix, folded into all that adds to it and all that reads it.

Gains and biases of normalizations are absorbed by the products behind them first, which leaves N(x R) = N(x) R
(`stream`). An outlier channel is then spread over all channels of the stream, and of what products read behind its
normalizations. Sources: Ashkboos et al. 2024, "SliceGPT: Compress Large Language Models by Deleting Rows and Columns"
(invariance); Ashkboos et al. 2024, "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs" (randomized
Hadamard matrices); Xu et al. 2025, "MambaQuant" (principal axes before the Hadamard matrix, so that channels have one
variance). A LayerNorm is not turned into an RMSNorm: R keeps the mean instead, R 1 = 1, and its operator stays.

Price: nothing on the device but that gains become ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.passes.base import Note
from bevel.passes.graph.edit import constant
from bevel.passes.transform.orthogonal import Matrix, keeping_mean, principal, spreading
from bevel.passes.transform.seen import see
from bevel.passes.transform.stream import NoStreamError, ResidualStream, StreamNorm, find_streams, values_of
from bevel.passes.transform.transform import Changed, Transform
from bevel.passes.transform.uses import Array, grouped, stored

LEAST = 4  # channels: in fewer there is nothing to spread over


@dataclass(frozen=True)
class RotateStream(Transform):
    """by: `hadamard`, or `klt`: principal axes of what is normalized, then Hadamard; seed: of its signs."""

    name: ClassVar[str] = "rotate-stream"
    by: Literal["hadamard", "klt"] = "hadamard"
    seed: int = 0

    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Note]]:
        stays, streams = [], []
        for found in find_streams(graph):
            if isinstance(found, NoStreamError):
                stays.append(self.note(found.node, "stays", f"no rotation of its residual stream: {found.text}"))
            elif found.size >= LEAST and any(norm.readers for norm in found.norms):
                streams.append(found)
        if not streams:
            return None, stays
        names = [tensor.name for stream in streams for norm in stream.norms for tensor in (norm.x, norm.result)]
        seen = see(graph, names, samples) if self.by == "klt" else {}
        for place, stream in enumerate(streams):
            fold(graph, stream, self.matrix(stream, seen, place))
        tensors = {tensor.name: -1 for one in streams for norm in one.norms for tensor in (norm.x, norm.result)}
        notes = tuple(self.told(stream) for stream in streams)
        return Changed(graph, len(streams), tensors, notes), stays

    def matrix(self, stream: ResidualStream, seen: Mapping[str, list[NDArray[Any]]], place: int) -> Matrix:
        spread = spreading(stream.size, self.seed + place)
        if self.by == "klt":
            spread = principal(covariance(stream, seen)) @ spread
        return keeping_mean(spread) if stream.centers else spread

    def told(self, stream: ResidualStream) -> Note:
        products = len(stream.makers) + len(stream.readers) + sum(len(norm.readers) for norm in stream.norms)
        text = (
            f"the residual stream of {stream.size} channels is rotated ({self.by}): folded into {products} products, "
            f"{len(stream.terms) + len(stream.tables)} constants and the gains of {len(stream.norms)} normalizations"
        )
        return self.note(stream.norms[0].node.name, "changed", text, channels=stream.size, products=products)


def covariance(stream: ResidualStream, seen: Mapping[str, list[NDArray[Any]]]) -> Matrix:
    """Of what the products behind the normalizations read, without gain and bias, summed over these."""
    total = np.zeros((stream.size, stream.size))
    for norm in stream.norms:
        rows = np.concatenate([one.reshape(-1, stream.size) for one in seen[norm.x.name]]).astype(np.float64)
        if norm.centers:
            rows = rows - rows.mean(1, keepdims=True)
        rows = rows / np.maximum(np.sqrt(np.square(rows).mean(1, keepdims=True)), 1e-12)
        total += rows.T @ rows / len(rows)
    return total


def fold(graph: gs.Graph, stream: ResidualStream, rotation: Matrix) -> None:
    """Let all constants around the stream take the rotation up."""
    for norm in stream.norms:
        absorb(graph, norm, stream.size)
    for node in stream.makers:
        make_rotated(graph, node, rotation)
    for node in (*stream.readers, *(node for norm in stream.norms for node in norm.readers)):
        weights = grouped(node)
        replace_weights(graph, node, np.einsum("goit,ij->gojt", weights, rotation))
    for node, place, axis in stream.terms:
        values = np.asarray(node.inputs[place].values, np.float64)
        put(graph, node, place, rotated_along(values, rotation, axis))
    for node in stream.tables:
        put(graph, node, 0, np.asarray(node.inputs[0].values, np.float64) @ rotation)


def absorb(graph: gs.Graph, norm: StreamNorm, size: int) -> None:
    """Let the products behind a normalization take its gain and bias up: these become ones and zeros."""
    gain, bias = values_of(norm.gain, size, 1.0), values_of(norm.bias, size, 0.0)
    for node in norm.readers:
        weights = grouped(node)
        shift = np.einsum("goit,i->go", weights, bias).ravel()
        if np.any(shift):
            have = node.inputs[2].values if len(node.inputs) > 2 and not node.inputs[2].is_empty() else 0.0
            add_bias(graph, node, have + shift)
        replace_weights(graph, node, weights * gain[None, None, :, None])
    for place, values in ((norm.gain, np.ones(size)), (norm.bias, np.zeros(size))):
        if place is not None:
            put(graph, *place, values)


def make_rotated(graph: gs.Graph, node: gs.Node, rotation: Matrix) -> None:
    replace_weights(graph, node, np.einsum("goit,oj->gjit", grouped(node), rotation))
    if len(node.inputs) > 2 and not node.inputs[2].is_empty():
        put(graph, node, 2, np.asarray(node.inputs[2].values, np.float64) @ rotation)


def rotated_along(values: Array, rotation: Matrix, axis: int) -> Array:
    """A constant whose channels lie along `axis`; one number for all of them is spread first. Below 0: it has none."""
    size = len(rotation)
    if axis < 0:
        values, axis = values.reshape(1, *[1] * (-axis - 1), *values.shape), 0
    spread = np.broadcast_to(values, (*values.shape[:axis], size, *values.shape[axis + 1 :]))
    return np.moveaxis(np.moveaxis(spread, axis, -1) @ rotation, -1, axis)


def replace_weights(graph: gs.Graph, node: gs.Node, weights: Array) -> None:
    node.inputs[1] = constant(graph, node.inputs[1].name, stored(node, weights))


def add_bias(graph: gs.Graph, node: gs.Node, values: Array) -> None:
    made = constant(graph, f"{node.name}.bias", values.astype(np.float32))
    node.inputs = [*node.inputs[:2], made]


def put(graph: gs.Graph, node: gs.Node, place: int, values: Array) -> None:
    """A new constant in place of one: those may be shared."""
    node.inputs[place] = constant(graph, node.inputs[place].name, values.astype(np.float32))
