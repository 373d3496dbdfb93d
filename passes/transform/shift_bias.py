"""Channels are centred: what makes a tensor takes their middle off its bias, and products that read it add it back.

    z_c = (max x_c + min x_c) / 2        x' = x - z,  b' = b - z  where it is made,  b' = b + W z  where it is read

Channels of one tensor that lie around different values need a range as wide as all of them; centred ones do not.
Source: Wei et al. 2023, "Outlier Suppression+: Accurate quantization of large language models by equivalent and
effective shifting and scaling" (its channel-wise shifting). Shifts pass through moves, and through attention: shares
of a row sum to 1, so P (v - z) = P v - z. Padding puts zeros beside them, so a convolution that pads lets none
through.

Price: nothing on the device. A shift is taken where rounding what is read is predicted to cost its products less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.passes.base import Note
from bevel.passes.graph.edit import constant, given, is_output, producer
from bevel.passes.transform.gauges import Labels
from bevel.passes.transform.moved import MOVES, moved
from bevel.passes.transform.noise import rounded_values
from bevel.passes.transform.seen import channel_values, see
from bevel.passes.transform.smooth import GAIN, decibels
from bevel.passes.transform.stream import StreamNorm, find_norms
from bevel.passes.transform.transform import Changed, Transform
from bevel.passes.transform.uses import LINEAR, Array, grouped, has_plain_bias, reads_zeros_beside


@dataclass(eq=False)
class ShiftSite:
    """node, index: the bias that a shift is taken off, of `size` channels; tensor: what it makes, with the channels
    along `axis`. readers: products, each with the channel that each of its inputs is. free: channels that nothing else
    reads."""

    node: gs.Node
    index: int
    tensor: gs.Tensor
    axis: int
    size: int
    readers: list[tuple[gs.Node, NDArray[np.int64]]] = field(default_factory=list)
    free: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))


@dataclass(frozen=True)
class ShiftBias(Transform):
    name: ClassVar[str] = "shift-bias"

    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Note]]:
        sites = [site for site in find_shifts(graph) if site.free.any()]
        axes = {node.inputs[0].name: (-1 if node.op == "Gemm" else 1) for site in sites for node, _ in site.readers}
        arrays = see(graph, axes, samples) if axes else {}
        values = {name: channel_values(arrays[name], axis) for name, axis in axes.items()}
        shifted, notes = [], []
        for site in sites:
            shift = middles(site, values)
            gain = decibels(*(self.error(site, values, one) for one in (np.zeros(site.size), shift)))
            if gain >= GAIN:
                move(graph, site, shift)
                shifted.append(site)
                text = f"{int(np.count_nonzero(shift))} channels centred: rounding them costs {gain:.1f} dB less"
                notes.append(self.note(site.node.name, "changed", text, predicted_db=gain))
        if not shifted:
            return None, []
        tensors = {node.inputs[0].name: axes[node.inputs[0].name] for site in shifted for node, _ in site.readers}
        return Changed(graph, len(shifted), tensors, tuple(notes)), []

    def error(self, site: ShiftSite, values: Mapping[str, NDArray[Any]], shift: Array) -> float:
        """Of what the products read, weighted by their weights."""
        total = 0.0
        for node, channels in site.readers:
            x = values[node.inputs[0].name] - shift[channels, None]
            lost = np.square(rounded_values(x, self.activation_bits) - x).mean(1)
            total += float(lost @ np.square(grouped(node)).sum((1, 3)).ravel())
        return total


def find_shifts(graph: gs.Graph) -> Iterator[ShiftSite]:
    """Normalizations and products with a bias, in the order of the graph."""
    norms = {id(norm.node): norm for norm in find_norms(graph)}
    for node in graph.nodes:
        site = of_norm(norms[id(node)]) if id(node) in norms else of_product(node)
        if site is not None:
            follow(graph, site)
            yield site


def of_norm(norm: StreamNorm) -> ShiftSite | None:
    size = int(norm.x.shape[-1])
    if norm.bias is None or norm.bias[0].inputs[norm.bias[1]].values.size != size:
        return None
    return ShiftSite(*norm.bias, norm.result, len(norm.result.shape) - 1, size)


def of_product(node: gs.Node) -> ShiftSite | None:
    if not takes_shift(node):
        return None
    y = node.outputs[0]
    return ShiftSite(node, 2, y, 1, int(y.shape[1]))


def takes_shift(node: gs.Node) -> bool:
    """Whether it is a product with a bias for each channel that it makes."""
    plain = node.op in LINEAR and not (node.op == "Gemm" and node.attrs)
    return plain and given(node, 2) is not None and has_plain_bias(node)


def follow(graph: gs.Graph, site: ShiftSite) -> None:
    """Find who reads which channel; what else does blocks it."""
    shape = tuple(map(int, site.tensor.shape))
    start = np.arange(site.size).reshape([-1 if place == site.axis else 1 for place in range(len(shape))])
    blocked: set[int] = set()
    pending: list[tuple[gs.Tensor, Labels]] = [(site.tensor, np.broadcast_to(start, shape))]
    while pending:
        tensor, labels = pending.pop()
        if is_output(graph, tensor):
            blocked |= set(np.unique(labels).tolist())
        for node in tensor.outputs:
            behind = labels_behind(node, tensor, labels)
            reads = read_channels(node, tensor, labels)
            if behind is not None:
                pending += zip(node.outputs, behind, strict=True)
            elif reads is not None:
                site.readers.append((node, reads))
            else:
                blocked |= set(np.unique(labels).tolist())
    read = {int(one) for _, channels in site.readers for one in channels}
    site.free = np.array([channel in read and channel not in blocked for channel in range(site.size)])


def labels_behind(node: gs.Node, tensor: gs.Tensor, labels: Labels) -> list[Labels] | None:
    """Where channels are behind moves, and behind a product with shares that sum to 1; None behind all else."""
    if node.op in MOVES and node.op not in ("Concat", "Pad") and node.inputs[0] is tensor:
        return moved(node, [labels, *(np.zeros(0, np.int64) for _ in node.inputs[1:])])
    if node.op == "MatMul" and node.inputs[1] is tensor and sums_to_one(node.inputs[0]) and labels.ndim > 1:
        same = (labels == labels[..., :1, :]).all()
        return [np.broadcast_to(labels[..., :1, :], tuple(map(int, node.outputs[0].shape)))] if same else None
    return None


def sums_to_one(tensor: gs.Tensor) -> bool:
    """Along the last axis."""
    node = producer(tensor)
    rank = len(tensor.shape)
    return node is not None and node.op == "Softmax" and int(node.attrs.get("axis", -1)) % rank == rank - 1


def read_channels(node: gs.Node, tensor: gs.Tensor, labels: Labels) -> NDArray[np.int64] | None:
    """The channel that each input of a product is; None where it is no product that can take a shift up."""
    if node.inputs[0] is not tensor or not takes_shift(node):
        return None
    if not isinstance(node.inputs[1], gs.Constant) or reads_zeros_beside(node):
        return None
    axis = labels.ndim - 1 if node.op == "Gemm" else 1
    lines = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
    found: NDArray[np.int64] = lines[:, 0].astype(np.int64)
    return found if (lines == lines[:, :1]).all() else None


def middles(site: ShiftSite, values: Mapping[str, NDArray[Any]]) -> Array:
    """[size]: the middle of what each free channel holds wherever it is read."""
    low, high = np.full(site.size, np.inf), np.full(site.size, -np.inf)
    for node, channels in site.readers:
        x = values[node.inputs[0].name]
        np.minimum.at(low, channels, x.min(1))
        np.maximum.at(high, channels, x.max(1))
    return np.where(site.free, (np.where(site.free, low, 0.0) + np.where(site.free, high, 0.0)) / 2, 0.0)


def move(graph: gs.Graph, site: ShiftSite, shift: Array) -> None:
    add(graph, site.node, site.index, -shift)
    for node, channels in site.readers:
        weights = grouped(node)
        groups, _, into, _ = weights.shape
        by = shift[channels].reshape(groups, into)
        add(graph, node, 2, np.einsum("goit,gi->go", weights, by).ravel())


def add(graph: gs.Graph, node: gs.Node, index: int, values: Array) -> None:
    """To a constant, which is new: it may be shared."""
    have = node.inputs[index]
    total = np.asarray(have.values, np.float64) + values.reshape(have.values.shape)
    node.inputs[index] = constant(graph, have.name, total.astype(np.float32))
