"""Rotations of attention's values, one for each head: between the value projection and the output projection.

    P (V R) = (P V) R:      W_v' = W_v R,  b_v' = b_v R,  W_o' = R^T W_o

P mixes positions and leaves channels alone, so that the channels of a head may be turned where they are made and turned
back where they are read. Source: Liu et al. 2024, "SpinQuant: LLM Quantization with Learned Rotations" (its R2). R may
be any invertible matrix, with its inverse where it is read: `affine` learns one (Sun et al. 2025, "FlatQuant"). Heads
of queries that share a head of values share its matrix. Between the projections stands nothing but moves and the
product with P; what else reads the values keeps them as they are.

Price: nothing on the device. Heads are turned where that is predicted to cost what reads them less (`predicted`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.passes.base import Note
from bevel.passes.graph.edit import constant
from bevel.passes.transform.affine import ROWS, learned_affine
from bevel.passes.transform.flow import Flow, find_flow
from bevel.passes.transform.gauges import ONE, Labels, compact
from bevel.passes.transform.moved import MOVES
from bevel.passes.transform.orthogonal import Matrix, spreading
from bevel.passes.transform.predicted import LEAST_GAIN, product_cost, weight_cost
from bevel.passes.transform.seen import see
from bevel.passes.transform.smooth import decibels
from bevel.passes.transform.transform import Changed, Transform, vectors
from bevel.passes.transform.uses import LinearUse, grouped, stored

LEAST = 4  # channels of a head: in fewer there is nothing to spread over
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ValueHead:
    """Channels that are turned together. node: the product with P; made, read: the products before and behind, each
    with the places of the channels, one list for each head that reads them."""

    node: gs.Node
    size: int
    made: tuple[tuple[LinearUse, Places], ...]
    read: tuple[tuple[LinearUse, Places], ...]


@dataclass(frozen=True)
class RotateValues(Transform):
    """by: `hadamard`, or `affine`, learned; seed: of the signs of the Hadamard matrices; gain: dB that rounding must be
    predicted to cost less, of each product with P."""

    name: ClassVar[str] = "rotate-values"
    by: Literal["hadamard", "affine"] = "hadamard"
    seed: int = 0
    gain: float = LEAST_GAIN

    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Note]]:
        flow = find_flow(graph)
        heads = list(find_heads(flow))
        if not heads:
            return None, []
        arrays = see(graph, [use.x.name for head in heads for use, _ in head.read], samples)
        found: dict[str, list[TurnedHead]] = {}
        for place, head in enumerate(heads):
            one = self.matrix(head, arrays, self.seed + place)
            found.setdefault(str(head.node.name), []).append(one)
        turned: list[TurnedHead] = []
        notes: list[Note] = []
        stays: list[Note] = []
        for name, group in found.items():
            gain = decibels(*(self.cost(group, arrays, rotated) for rotated in (False, True)))
            taken = gain >= self.gain
            text = (
                f"values are {'' if taken else 'not '}{self.does} in {len(group)} heads of {group[0].head.size} "
                f"channels: rounding is predicted to cost {gain:.1f} dB less"
            )
            numbers = {"heads": len(group), "channels": group[0].head.size, "predicted_db": gain}
            (notes if taken else stays).append(self.note(name, "changed" if taken else "stays", text, **numbers))
            turned += group if taken else []
        for one in turned:
            turn(graph, one)
        tensors = {use.x.name: use.channel_axis for one in turned for use, _ in one.head.read}
        return (Changed(graph, len(notes), tensors, tuple(notes)) if turned else None), stays

    @property
    def does(self) -> str:
        return "rotated" if self.by == "hadamard" else "flattened"

    def matrix(self, head: ValueHead, arrays: Mapping[str, list[NDArray[Any]]], seed: int) -> TurnedHead:
        if self.by == "hadamard":
            rotation = spreading(head.size, seed)
            return TurnedHead(head, rotation, rotation)
        seen = [vectors(arrays[use.x.name], use.channel_axis)[:, places] for use, places in head.read]
        rows = np.concatenate(seen)
        weights = [
            np.moveaxis(grouped(use.node)[0][:, places], 1, 0).reshape(head.size, -1) for use, places in head.read
        ]
        bits = (self.weight_bits, self.activation_bits)
        found = learned_affine(rows[:: max(1, len(rows) // ROWS)], np.concatenate(weights, 1), 1, bits, False)
        return TurnedHead(head, found.matrix, found.inverse.matrix.T)

    def cost(self, heads: Sequence[TurnedHead], arrays: Mapping[str, list[NDArray[Any]]], rotated: bool) -> float:
        """Of the products that read the heads, and of the weights that make them, as they are or rotated."""
        bits, total = (self.weight_bits, self.activation_bits), 0.0
        readers = {id(use.node): use for one in heads for use, _ in one.head.read}
        for use in readers.values():
            rows, weights = vectors(arrays[use.x.name], use.channel_axis), grouped(use.node)[0]
            for one in heads if rotated else ():
                for places in (places for other, places in one.head.read if other.node is use.node):
                    rows[:, places] = rows[:, places] @ one.forth
                    weights[:, places] = np.einsum("oit,ij->ojt", weights[:, places], one.back)
            total += product_cost(rows, weights, bits)
        for one in heads:
            for use, places in one.head.made:
                made = grouped(use.node)[0, places]
                total += weight_cost(np.einsum("oit,oj->jit", made, one.forth) if rotated else made, bits[0])
        return total


@dataclass(frozen=True, eq=False)
class TurnedHead:
    """A head, the matrix that would turn it, and its inverse, transposed."""

    head: ValueHead
    forth: Matrix
    back: Matrix


def find_heads(flow: Flow) -> Iterator[ValueHead]:
    """In the order of the graph; no channel is in two."""
    readers = scale_readers(flow)
    taken: set[int] = set()
    for node in flow.graph.nodes:
        for labels in value_labels(flow, node):
            if taken & set(labels) or not passes(flow, labels, readers, node):
                continue
            head = head_of(flow, node, labels)
            if head is not None:
                taken |= set(labels)
                yield head


def value_labels(flow: Flow, node: gs.Node) -> Iterator[tuple[int, ...]]:
    """The scales of the channels of each head that a product with shares makes, in order; all are free and differ."""
    if node.op != "MatMul" or node.outputs[0].name not in flow.labels:
        return
    left, right = (flow.gauges.is_one(flow.of(one)) for one in node.inputs)
    if left == right:
        return
    found = flow.gauges.resolved(flow.of(node.outputs[0]))
    rows = found if left else np.swapaxes(found, -1, -2)
    for line in np.unique(rows.reshape(-1, rows.shape[-1]), axis=0).tolist():
        if len(line) >= LEAST and ONE not in line and len(set(line)) == len(line):
            yield tuple(line)


def scale_readers(flow: Flow) -> dict[int, dict[int, gs.Node]]:
    """{scale: the nodes that read a tensor that bears it}."""
    found: dict[int, dict[int, gs.Node]] = {}
    for node in flow.graph.nodes:
        for tensor in node.inputs:
            if tensor.name in flow.labels:
                for label in np.unique(flow.gauges.resolved(compact(flow.labels[tensor.name]))).tolist():
                    found.setdefault(label, {})[id(node)] = node
    return found


def passes(flow: Flow, labels: Sequence[int], readers: dict[int, dict[int, gs.Node]], product: gs.Node) -> bool:
    """Whether nothing but moves, products by weights, and products with shares read the channels, as they are."""
    nodes = {key: node for label in labels for key, node in readers.get(label, {}).items()}
    inverse = any(readers.get(label ^ 1) for label in labels)
    linear = {id(use.node) for use in flow.uses if isinstance(use, LinearUse)}
    return not inverse and all(
        node.op in MOVES or key in linear or node is product or node.op == "MatMul" for key, node in nodes.items()
    )


def head_of(flow: Flow, node: gs.Node, labels: Sequence[int]) -> ValueHead | None:
    """None where something else than products by weights makes the channels or reads them."""
    made, read = [], []
    for use in flow.uses:
        if isinstance(use, LinearUse):
            makes, reads = (flow.gauges.resolved(one) for one in (use.makes, use.reads))
            groups = int(use.node.attrs.get("group", 1))
            both = [places_of(makes, labels), places_of(reads, labels)]
            if None in both or (groups != 1 and any(both)):
                return None
            made += [(use, places) for places in both[0] or ()]
            read += [(use, places) for places in both[1] or ()]
        elif not isinstance(use, LinearUse) and bears(flow, use, labels):
            return None
    return ValueHead(node, len(labels), tuple(made), tuple(read)) if made and read else None


def bears(flow: Flow, use: object, labels: Sequence[int]) -> bool:
    """Whether a gain, a constant or a product of activations bears one of the scales."""
    borne = [getattr(use, name, None) for name in ("makes", "left", "right")]
    found = {label & ~1 for one in borne if one is not None for label in np.unique(flow.gauges.resolved(one)).tolist()}
    return not found.isdisjoint({label & ~1 for label in labels})


def places_of(found: Labels, labels: Sequence[int]) -> list[Places] | None:
    """Where the labels stand among the channels of a product: one list for each time that all of them do. None where
    only some do."""
    each = [np.flatnonzero(found == label) for label in labels]
    counts = {len(one) for one in each}
    return None if len(counts) != 1 else [np.array([one[turn] for one in each]) for turn in range(counts.pop())]


def turn(graph: gs.Graph, one: TurnedHead) -> None:
    for use, places in one.head.made:
        weights = grouped(use.node)
        weights[0, places] = np.einsum("oit,oj->jit", weights[0, places], one.forth)
        bias = None if use.bias is None else np.asarray(use.bias, np.float64).copy()
        use.node.inputs[1] = constant(graph, use.weights.name, stored(use.node, weights))
        if bias is not None:
            bias[places] = bias[places] @ one.forth
            use.node.inputs[2] = constant(graph, use.node.inputs[2].name, bias.astype(np.float32))
    for use, places in one.head.read:
        weights = grouped(use.node)
        weights[0][:, places] = np.einsum("oit,ij->ojt", weights[0][:, places], one.back)
        use.node.inputs[1] = constant(graph, use.weights.name, stored(use.node, weights))
