"""Rotations of the residual stream: one orthogonal matrix, folded into all that adds to it and all that reads it.

Gains and biases of normalizations are absorbed by the products behind them first, which leaves N(x R) = N(x) R
(`stream`). An outlier channel is then spread over all channels of the stream, and of what products read behind its
normalizations. Sources: Ashkboos et al. 2024, "SliceGPT: Compress Large Language Models by Deleting Rows and Columns"
(invariance); Ashkboos et al. 2024, "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs" (randomized
Hadamard matrices); Xu et al. 2025, "MambaQuant" (principal axes before the Hadamard matrix, so that channels have one
variance). A LayerNorm is not turned into an RMSNorm: R keeps the mean instead, R 1 = 1, and its operator stays. Gains
that became ones are free for scales of the turned channels, which the products behind undo: those of `smooth`, by which
these products are predicted to lose least.

Price: nothing on the device. A stream without loud channels is flatter than what a Hadamard matrix makes of it, so by
default the matrix is learned (`learned`), from there and from the identity on, and a stream is turned where that is
predicted to cost its products less (`predicted`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.passes.base import Note
from bevel.passes.graph.edit import constant
from bevel.passes.transform.learned import ROWS, ReachCost, Read, learned
from bevel.passes.transform.orthogonal import Matrix, keeping_mean, principal, spreading
from bevel.passes.transform.predicted import LEAST_GAIN, product_cost, weight_cost
from bevel.passes.transform.scale_channels import balanced
from bevel.passes.transform.seen import see
from bevel.passes.transform.smooth import decibels
from bevel.passes.transform.stream import NoStreamError, ResidualStream, StreamNorm, find_streams, values_of
from bevel.passes.transform.transform import Changed, Transform
from bevel.passes.transform.uses import Array, grouped, stored

LEAST = 4  # channels: in fewer there is nothing to spread over
ALPHAS = (0.25, 0.5, 0.75, 1.0)  # of scales behind a normalization
LEVELLED = 512  # rows that choose these
STEPS, LEARNING = 60, 10**12  # of descent at most, and multiplications of all of them: about a minute
FEWEST = 10  # steps that move a matrix; where there is no time for so many the start is taken


@dataclass(frozen=True, eq=False)
class StreamRotation:
    """What is done to a stream: its rotation, and for each normalization the logarithms of its channels' scales behind
    that; by: how it was found; cost: what rounding then takes of its products (`predicted`)."""

    by: str
    rotation: Matrix
    logs: tuple[Array, ...]
    cost: float


@dataclass(frozen=True)
class RotateStream(Transform):
    """by: `learned`, from Hadamard's matrix and from the identity on, whichever ends better; `hadamard`; `klt`:
    principal axes of what is normalized, then Hadamard. seed: of its signs; gain: dB that rounding must be predicted
    to cost less."""

    name: ClassVar[str] = "rotate-stream"
    by: Literal["hadamard", "klt", "learned"] = "learned"
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
            turning = self.turning(stream, seen, place)
            gain = decibels(self.cost(stream, seen), turning.cost)
            if gain < self.gain:
                text = f"no rotation ({turning.by}) of its residual stream: predicted to gain {gain:.1f} dB"
                stays.append(self.note(stream.norms[0].node.name, "stays", text, predicted_db=gain))
                continue
            fold(graph, stream, turning.rotation, turning.logs)
            turned.append(stream)
            notes.append(self.told(stream, turning.by, gain))
        tensors = {tensor.name: -1 for one in turned for norm in one.norms for tensor in (norm.x, norm.result)}
        return (Changed(graph, len(turned), tensors, tuple(notes)) if turned else None), stays

    @property
    def bits(self) -> tuple[int, int]:
        """Of weights and activations."""
        return self.weight_bits, self.activation_bits

    def cost(self, stream: ResidualStream, seen: Mapping[str, list[NDArray[Any]]]) -> float:
        """Of the products behind normalizations, and of the weights that make the stream, as it is."""
        total = sum(weight_cost(grouped(node)[0], self.weight_bits) for node in stream.makers)
        for norm in stream.norms:
            rows = flat(seen[norm.result.name])
            total += sum(product_cost(rows, grouped(node)[0], self.bits) for node in norm.readers)
        return total

    def turned(
        self, stream: ResidualStream, seen: Mapping[str, list[NDArray[Any]]], by: str, rotation: Matrix
    ) -> StreamRotation:
        total, logs = 0.0, []
        for norm in stream.norms:
            gain = values_of(norm.gain, stream.size, 1.0)
            weights = [
                np.einsum("oit,ij->ojt", grouped(node)[0] * gain[None, :, None], rotation) for node in norm.readers
            ]
            rows = normalized(norm, seen[norm.x.name]) @ rotation
            scales = np.zeros(stream.size) if norm.gain is None else levelling(rows, weights, self.bits)
            total += levelled_cost(rows, weights, scales, self.bits)
            logs.append(scales)
        for node in stream.makers:
            total += weight_cost(np.einsum("oit,oj->jit", grouped(node)[0], rotation), self.weight_bits)
        return StreamRotation(by, rotation, tuple(logs), total)

    def turning(self, stream: ResidualStream, seen: Mapping[str, list[NDArray[Any]]], place: int) -> StreamRotation:
        spread = spreading(stream.size, self.seed + place)
        if self.by == "klt":
            spread = principal(covariance(stream, seen)) @ spread
        start = keeping_mean(spread) if stream.centers else spread
        if self.by != "learned":
            return self.turned(stream, seen, self.by, start)
        given = ReachCost(reads_of(stream, seen), made_by(stream), self.bits)
        starts = (np.eye(stream.size), start)
        steps = min(STEPS, LEARNING // (len(starts) * max(given.multiplications, 1)))
        if steps < FEWEST:
            return self.turned(stream, seen, "hadamard, as there is no time to learn one so large", start)
        found = [learned(one, given, stream.centers, steps) for one in starts]
        return min((self.turned(stream, seen, self.by, one) for one in found), key=lambda one: one.cost)

    def told(self, stream: ResidualStream, by: str, gain: float) -> Note:
        products = len(stream.makers) + len(stream.readers) + sum(len(norm.readers) for norm in stream.norms)
        text = (
            f"the residual stream of {stream.size} channels is rotated ({by}): folded into {products} products, "
            f"{len(stream.terms) + len(stream.tables)} constants and the gains of {len(stream.norms)} normalizations; "
            f"rounding is predicted to cost {gain:.1f} dB less"
        )
        numbers = {"channels": float(stream.size), "products": float(products), "predicted_db": gain}
        return self.note(stream.norms[0].node.name, "changed", text, **numbers)


def levelling(rows: Matrix, weights: Sequence[Array], bits: tuple[int, int]) -> Array:
    """Logarithms of the scales by which the products of `rows` [n, channels] lose least; zeros: none.

    weights: of each product, [out, channels, taps]."""
    few = rows[:: max(1, len(rows) // LEVELLED)]
    plus = np.abs(rows).max(0)
    minus = np.max([np.abs(one).max((0, 2)) for one in weights], 0) if weights else np.zeros_like(plus)
    tried = [np.zeros(len(plus)), *(balanced(plus, minus, alpha) for alpha in ALPHAS)]
    return min(tried, key=lambda logs: levelled_cost(few, weights, logs, bits))


def levelled_cost(rows: Matrix, weights: Sequence[Array], logs: Array, bits: tuple[int, int]) -> float:
    scales = np.exp(logs)
    return sum(product_cost(rows * scales, one / scales[None, :, None], bits) for one in weights)


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


def made_by(stream: ResidualStream) -> list[Matrix]:
    """[inputs and taps, channels] of each product that makes the stream."""
    weights = (grouped(node) for node in stream.makers)
    return [np.moveaxis(one, 1, 3).reshape(-1, stream.size) for one in weights]


def fold(graph: gs.Graph, stream: ResidualStream, rotation: Matrix, logs: Sequence[Array] = ()) -> None:
    """Let all constants around the stream take the rotation up. logs: of scales behind each normalization."""
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
    for norm, scales in zip(stream.norms, map(np.exp, logs), strict=False):
        scale(graph, norm, scales)


def scale(graph: gs.Graph, norm: StreamNorm, scales: Array) -> None:
    """Let a normalization whose gain is one have these in its place, and the products behind undo them."""
    if norm.gain is None or not norm.readers:
        return
    put(graph, *norm.gain, scales)
    for node in norm.readers:
        replace_weights(graph, node, grouped(node) / scales[None, None, :, None])


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
