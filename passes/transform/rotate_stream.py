"""Rotations of the residual stream: one orthogonal matrix, folded into all that adds to it and all that reads it.

Gains and biases of normalizations are absorbed by the products behind them first, which leaves N(x R) = N(x) R
(`stream`). An outlier channel is then spread over all channels of the stream, and of what products read behind its
normalizations. Sources: Ashkboos et al. 2024, "SliceGPT: Compress Large Language Models by Deleting Rows and Columns"
(invariance); Ashkboos et al. 2024, "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs" (randomized
Hadamard matrices); Xu et al. 2025, "MambaQuant" (principal axes before the Hadamard matrix, so that channels have one
variance). A LayerNorm is not turned into an RMSNorm: R keeps the mean instead, R 1 = 1, and its operator stays.

Price: nothing on the device but that gains become ones. A stream without loud channels is flatter than what a rotation
makes of it, so one is turned where that is predicted to cost its products less (`predicted`).
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
from bevel.passes.transform.learned import ROWS, Read, learned
from bevel.passes.transform.orthogonal import Matrix, keeping_mean, principal, spreading
from bevel.passes.transform.predicted import LEAST_GAIN, product_cost, weight_cost
from bevel.passes.transform.seen import see
from bevel.passes.transform.smooth import decibels
from bevel.passes.transform.stream import NoStreamError, ResidualStream, StreamNorm, find_streams, values_of
from bevel.passes.transform.transform import Changed, Transform
from bevel.passes.transform.uses import Array, grouped, stored

LEAST = 4  # channels: in fewer there is nothing to spread over


@dataclass(frozen=True)
class RotateStream(Transform):
    """by: `hadamard`; `klt`: principal axes of what is normalized, then Hadamard; `learned`, from Hadamard on. seed: of
    its signs; gain: dB that rounding must be predicted to cost less."""

    name: ClassVar[str] = "rotate-stream"
    by: Literal["hadamard", "klt", "learned"] = "hadamard"
    seed: int = 0
    gain: float = LEAST_GAIN

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
        seen = see(graph, names, samples)
        turned, notes = [], []
        for place, stream in enumerate(streams):
            rotation = self.matrix(stream, seen, place)
            gain = decibels(*(self.cost(stream, seen, one) for one in (None, rotation)))
            if gain < self.gain:
                text = f"no rotation ({self.by}) of its residual stream: predicted to gain {gain:.1f} dB"
                stays.append(self.note(stream.norms[0].node.name, "stays", text, predicted_db=gain))
                continue
            fold(graph, stream, rotation)
            turned.append(stream)
            notes.append(self.told(stream, gain))
        tensors = {tensor.name: -1 for one in turned for norm in one.norms for tensor in (norm.x, norm.result)}
        return (Changed(graph, len(turned), tensors, tuple(notes)) if turned else None), stays

    def cost(self, stream: ResidualStream, seen: Mapping[str, list[NDArray[Any]]], rotation: Matrix | None) -> float:
        """Of the products behind normalizations, and of the weights that make the stream; None: as it is."""
        bits, total = (self.weight_bits, self.activation_bits), 0.0
        for norm in stream.norms:
            rows, gain = flat(seen[norm.result.name]), np.ones(stream.size)
            if rotation is not None:
                rows, gain = normalized(norm, seen[norm.x.name]) @ rotation, values_of(norm.gain, stream.size, 1.0)
            for node in norm.readers:
                weights = grouped(node)[0] * gain[None, :, None]
                turned = weights if rotation is None else np.einsum("oit,ij->ojt", weights, rotation)
                total += product_cost(rows, turned, bits)
        for node in stream.makers:
            made = grouped(node)[0]
            total += weight_cost(made if rotation is None else np.einsum("oit,oj->jit", made, rotation), bits[0])
        return total

    def matrix(self, stream: ResidualStream, seen: Mapping[str, list[NDArray[Any]]], place: int) -> Matrix:
        spread = spreading(stream.size, self.seed + place)
        if self.by == "klt":
            spread = principal(covariance(stream, seen)) @ spread
        start = keeping_mean(spread) if stream.centers else spread
        if self.by != "learned":
            return start
        return learned(start, reads_of(stream, seen), (self.weight_bits, self.activation_bits), stream.centers)

    def told(self, stream: ResidualStream, gain: float) -> Note:
        products = len(stream.makers) + len(stream.readers) + sum(len(norm.readers) for norm in stream.norms)
        text = (
            f"the residual stream of {stream.size} channels is rotated ({self.by}): folded into {products} products, "
            f"{len(stream.terms) + len(stream.tables)} constants and the gains of {len(stream.norms)} normalizations; "
            f"rounding is predicted to cost {gain:.1f} dB less"
        )
        numbers = {"channels": float(stream.size), "products": float(products), "predicted_db": gain}
        return self.note(stream.norms[0].node.name, "changed", text, **numbers)


def covariance(stream: ResidualStream, seen: Mapping[str, list[NDArray[Any]]]) -> Matrix:
    """Of what the products behind the normalizations read, without gain and bias, summed over these."""
    every = [normalized(norm, seen[norm.x.name]) for norm in stream.norms]
    found: Matrix = np.sum([rows.T @ rows / len(rows) for rows in every], 0)
    return found


def normalized(norm: StreamNorm, arrays: list[NDArray[Any]]) -> Matrix:
    """[n, channels]: what the products behind a normalization read, without gain and bias."""
    rows = flat(arrays)
    if norm.centers:
        rows = rows - rows.mean(1, keepdims=True)
    found: Matrix = rows / np.maximum(np.sqrt(np.square(rows).mean(1, keepdims=True)), 1e-12)
    return found


def flat(arrays: list[NDArray[Any]]) -> Matrix:
    """[n, channels] of what has its channels last."""
    return np.concatenate([one.reshape(-1, one.shape[-1]) for one in arrays]).astype(np.float64)


def reads_of(stream: ResidualStream, seen: Mapping[str, list[NDArray[Any]]]) -> list[Read]:
    """What is read behind each normalization, and the products that do, with its gain."""
    found = []
    for norm in stream.norms:
        rows, gain = normalized(norm, seen[norm.x.name]), values_of(norm.gain, stream.size, 1.0)
        weights = [np.moveaxis(grouped(node), 2, 3).reshape(-1, stream.size) * gain for node in norm.readers]
        if weights:
            found.append(Read(rows[:: max(1, len(rows) // ROWS)], np.concatenate(weights)))
    return found


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
