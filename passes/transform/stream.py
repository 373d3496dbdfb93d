"""A residual stream: the tensors between products and normalizations whose vectors may all be turned by one matrix.

    x' = x R,  R orthogonal:  what adds to the stream makes W R,  what reads it multiplies by R^T W
    N(x R) = N(x) R           where N divides by the root of the mean square; if it takes off the mean, too: R 1 = 1

Found from a normalization's input by walking whatever is linear along the channels: sums, moves, means over positions.
Between a normalization and the products behind it stands nothing but moves, so that they can take up its gain and bias.
Everything else on the way, an output of the model, weights that two nodes read: no stream, and the first obstacle is
told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import is_output, producer, static_shape
from bevel.passes.operators.norms.written_norm import find_norm
from bevel.passes.operators.sums.reduced import reduced_axes
from bevel.passes.transform.moved import MOVES, moved
from bevel.passes.transform.uses import LINEAR, Array, has_plain_bias, reads_zeros_beside

FUSED = frozenset({"LayerNormalization", "RMSNormalization"})
MEANS = frozenset({"ReduceMean", "GlobalAveragePool"})


@dataclass(frozen=True, eq=False)
class StreamNorm:
    """A normalization along the last axis. inside: its nodes, `node` the last; gain, bias: (node, input) of the
    constants, where it has them; centers: whether it takes the mean off; readers: the products behind it."""

    node: gs.Node
    x: gs.Tensor
    inside: frozenset[int]
    centers: bool
    gain: tuple[gs.Node, int] | None
    bias: tuple[gs.Node, int] | None
    readers: tuple[gs.Node, ...] = ()

    @property
    def result(self) -> gs.Tensor:
        return self.node.outputs[0]


class NoStreamError(Exception):
    """Why there is none: a node, and what of it is in the way."""

    def __init__(self, node: str, text: str) -> None:
        super().__init__(text)
        self.node, self.text = node, text


@dataclass
class ResidualStream:
    """size: channels. axes: of each tensor of the stream, where they lie. makers, readers: products; terms: constants
    that are added or put beside, with their input and the axis; tables: of embeddings."""

    size: int
    axes: dict[str, int] = field(default_factory=dict)
    makers: list[gs.Node] = field(default_factory=list)
    readers: list[gs.Node] = field(default_factory=list)
    terms: list[tuple[gs.Node, int, int]] = field(default_factory=list)
    tables: list[gs.Node] = field(default_factory=list)
    norms: list[StreamNorm] = field(default_factory=list)

    @property
    def centers(self) -> bool:
        return any(norm.centers for norm in self.norms)


def find_streams(graph: gs.Graph) -> Iterator[ResidualStream | NoStreamError]:
    """One for each normalization that is not in one before."""
    norms = find_norms(graph)
    readers = constant_readers(graph)
    seen: set[int] = set()
    for norm in norms:
        if id(norm.node) in seen:
            continue
        walk = StreamWalk(graph, norms, readers, ResidualStream(int(norm.x.shape[-1])))
        try:
            walk.reach(norm.x, len(norm.x.shape) - 1)
            walk.finish()
            yield walk.stream
        except NoStreamError as error:
            yield error
        seen |= {id(one.node) for one in walk.stream.norms} | {id(norm.node)}


def constant_readers(graph: gs.Graph) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in graph.nodes:
        for one in node.inputs:
            if isinstance(one, gs.Constant):
                found[one.name] = found.get(one.name, 0) + 1
    return found


# Normalizations


def find_norms(graph: gs.Graph) -> list[StreamNorm]:
    """Along the last axis, with constant gain and bias: fused, and written out."""
    written = {id(node): found for node in graph.nodes if (found := written_norm(node)) is not None}
    parts = {part for last, one in written.items() for part in one.inside if part != last}
    every = [fused_norm(node) or written.get(id(node)) for node in graph.nodes if id(node) not in parts]
    return [one for one in every if one is not None]


def fused_norm(node: gs.Node) -> StreamNorm | None:
    if node.op not in FUSED or len(node.outputs) != 1:
        return None
    rank, size = len(node.inputs[0].shape), int(node.inputs[0].shape[-1])
    constants = all(one.is_empty() or is_along(one, size) for one in node.inputs[1:])
    if int(node.attrs.get("axis", -1)) % rank != rank - 1 or not constants:
        return None
    bias = (node, 2) if len(node.inputs) > 2 and not node.inputs[2].is_empty() else None
    centers = node.op == "LayerNormalization"
    return StreamNorm(node, node.inputs[0], frozenset({id(node)}), centers, (node, 1), bias)


def written_norm(node: gs.Node) -> StreamNorm | None:
    """One whose gain and bias, if it has them, are constants of its last nodes."""
    found = find_norm(node)
    if found is None or not found.mean or found.axes != (len(found.x.shape) - 1,):
        return None
    last, bias, gain = node, None, None
    if found.bias is not None:
        if last.op != "Add":
            return None
        bias = constant_input(last)
        before = producer(last.inputs[1 - bias[1]]) if bias is not None else None
        if before is None:
            return None
        last = before
    if found.gain is not None:
        gain = constant_input(last) if last.op == "Mul" else None
        if gain is None:
            return None
    inside = frozenset(map(id, (*found.inside, node)))
    return StreamNorm(node, found.x, inside, found.center, gain, bias)


def constant_input(node: gs.Node) -> tuple[gs.Node, int] | None:
    """Of two inputs the one that is a number for each channel, or one for all."""
    size = int(node.outputs[0].shape[-1])
    places = [place for place, one in enumerate(node.inputs[:2]) if isinstance(one, gs.Constant)]
    return (node, places[0]) if len(places) == 1 and is_along(node.inputs[places[0]], size) else None


def is_along(tensor: gs.Tensor, size: int) -> bool:
    """Whether it is a constant of one element, or of `size` along its last axis."""
    if not isinstance(tensor, gs.Constant):
        return False
    return bool(tensor.values.size == 1 or tensor.values.shape[-1] == tensor.values.size == size)


def values_of(place: tuple[gs.Node, int] | None, size: int, otherwise: float) -> Array:
    """[size]: a gain or bias, in float64."""
    if place is None:
        return np.full(size, otherwise)
    node, index = place
    values = np.asarray(node.inputs[index].values, np.float64)
    return np.broadcast_to(values.reshape(-1) if values.size == size else values.reshape(()), (size,)).copy()


# The walk


@dataclass
class StreamWalk:
    """From a tensor of the stream to all others. readers: how many inputs read each constant."""

    graph: gs.Graph
    norms: list[StreamNorm]
    readers: dict[str, int]
    stream: ResidualStream
    pending: list[tuple[gs.Tensor, int]] = field(default_factory=list)

    def reach(self, tensor: gs.Tensor, axis: int) -> None:
        """Raises NoStreamError for a tensor whose channels lie elsewhere, or that is a port of the model."""
        known = self.stream.axes.setdefault(tensor.name, axis)
        if known != axis:
            raise NoStreamError(tensor.name, "its channels lie along two axes")
        if not any(one is tensor for one, _ in self.pending):
            self.pending.append((tensor, axis))

    def finish(self) -> None:
        for tensor, axis in self.pending:  # grows while it is walked
            if is_output(self.graph, tensor) or producer(tensor) is None:
                raise NoStreamError(tensor.name, "it is a port of the model, which keeps its values")
            self.behind(tensor, axis)
            for node in list(tensor.outputs):
                self.ahead(node, tensor, axis)

    def behind(self, tensor: gs.Tensor, axis: int) -> None:
        """What makes a tensor of the stream."""
        node = producer(tensor)
        assert node is not None
        if node.op in LINEAR:
            self.product(node, axis == (tensor_rank(tensor) - 1 if node.op == "Gemm" else 1), self.stream.makers)
        elif node.op in ("Add", "Sub"):
            self.add(node, tensor, axis)
        elif node.op == "Gather" and isinstance(node.inputs[0], gs.Constant):
            self.table(node, tensor, axis)
        elif node.op == "Concat":
            self.concat(node, axis)
        elif node.op in MOVES or node.op in MEANS:
            self.reach(node.inputs[0], self.axis_before(node, tensor, axis))
        else:
            raise NoStreamError(node.name, f"a {node.op} makes a part of the residual stream")

    def ahead(self, node: gs.Node, tensor: gs.Tensor, axis: int) -> None:
        """What reads a tensor of the stream."""
        norm = next((one for one in self.norms if id(node) in one.inside), None)
        if norm is not None:
            self.normalize(norm, tensor)
        elif node.op in LINEAR:
            self.product(node, axis == (tensor_rank(tensor) - 1 if node.op == "Gemm" else 1), self.stream.readers)
        elif node.op in ("Add", "Sub"):
            result = node.outputs[0]
            self.reach(result, axis + tensor_rank(result) - tensor_rank(tensor))
        elif node.op == "Concat":
            self.reach(node.outputs[0], axis)
        elif node.op in MOVES or node.op in MEANS:
            for one, place in zip(node.outputs, axes_behind(node, axis, self.stream.size), strict=True):
                self.reach(one, place)
        else:
            raise NoStreamError(node.name, f"a {node.op} reads the residual stream")

    def normalize(self, norm: StreamNorm, tensor: gs.Tensor) -> None:
        if norm.x is not tensor:
            raise NoStreamError(norm.node.name, "it reads the residual stream within a normalization")
        if all(one.node is not norm.node for one in self.stream.norms):
            readers = tuple(self.behind_norm(norm.result, tensor_rank(norm.result) - 1, norm))
            self.stream.norms.append(
                StreamNorm(norm.node, norm.x, norm.inside, norm.centers, norm.gain, norm.bias, readers)
            )

    def behind_norm(self, tensor: gs.Tensor, axis: int, norm: StreamNorm) -> Iterator[gs.Node]:
        """The products behind moves of a normalized tensor."""
        if is_output(self.graph, tensor):
            raise NoStreamError(norm.node.name, "its result leaves the model")
        for node in list(tensor.outputs):
            if norm.bias is not None and puts_zeros_beside(node):
                raise NoStreamError(node.name, "it puts zeros beside what a bias moves away from 0")
            if node.op in LINEAR:
                self.product(node, axis == (tensor_rank(tensor) - 1 if node.op == "Gemm" else 1), [])
                yield node
            elif (node.op in MOVES or node.op in MEANS) and node.op != "Concat":
                for one, place in zip(node.outputs, axes_behind(node, axis, self.stream.size), strict=True):
                    yield from self.behind_norm(one, place, norm)
            else:
                raise NoStreamError(node.name, f"a {node.op} reads what {norm.node.name} normalizes, besides products")

    def product(self, node: gs.Node, along: bool, kept: list[gs.Node]) -> None:
        weights = node.inputs[1]
        own = isinstance(weights, gs.Constant) and self.readers[weights.name] == 1
        if not own or not has_plain_bias(node):
            raise NoStreamError(node.name, "its weights or bias are computed, or spread, or another node has them, too")
        if not along or int(node.attrs.get("group", 1)) != 1 or (node.op == "Gemm" and node.attrs):
            raise NoStreamError(node.name, "it does not multiply whole vectors of the residual stream")
        if all(one is not node for one in kept):
            kept.append(node)

    def add(self, node: gs.Node, tensor: gs.Tensor, axis: int) -> None:
        shape = static_shape(tensor) or ()
        for place, one in enumerate(node.inputs):
            where = axis - (len(shape) - tensor_rank(one))
            if isinstance(one, gs.Constant):
                self.term(node, place, where)
            elif where < 0 or one.shape[where] != self.stream.size:
                raise NoStreamError(node.name, "it spreads a number over the channels of the residual stream")
            else:
                self.reach(one, where)

    def concat(self, node: gs.Node, axis: int) -> None:
        if int(node.attrs["axis"]) % tensor_rank(node.outputs[0]) == axis:
            raise NoStreamError(node.name, "it puts channels of the residual stream together")
        for place, one in enumerate(node.inputs):
            if isinstance(one, gs.Constant):
                self.term(node, place, axis)
            else:
                self.reach(one, axis)

    def term(self, node: gs.Node, place: int, axis: int) -> None:
        if all(one[0] is not node or one[1] != place for one in self.stream.terms):
            self.stream.terms.append((node, place, axis))

    def table(self, node: gs.Node, tensor: gs.Tensor, axis: int) -> None:
        """Rows of an embedding."""
        rows = node.inputs[0]
        whole = rows.values.ndim == 2 and int(node.attrs.get("axis", 0)) % 2 == 0
        if not whole or axis != tensor_rank(tensor) - 1 or self.readers[rows.name] != 1:
            raise NoStreamError(node.name, "its table is no list of vectors of its own")
        if all(one is not node for one in self.stream.tables):
            self.stream.tables.append(node)

    def axis_before(self, node: gs.Node, tensor: gs.Tensor, axis: int) -> int:
        """Where the channels lie in what a move reads."""
        place = next(index for index, one in enumerate(node.outputs) if one is tensor)
        shape = static_shape(node.inputs[0]) or ()
        for candidate, size in enumerate(shape):
            if size == self.stream.size:
                try:
                    found = axes_behind(node, candidate, size)
                except NoStreamError:
                    continue
                if found[place] == axis:
                    return candidate
        raise NoStreamError(node.name, "it takes vectors of the residual stream apart")


def axes_behind(node: gs.Node, axis: int, size: int) -> list[int]:
    """Where channels that lie along `axis` of what a node reads are in what it makes. Raises NoStreamError where they
    do not stay whole and in order."""
    shape = static_shape(node.inputs[0]) or ()
    if node.op in MEANS:
        axes = reduced_axes(node)
        if axes is None or axis in axes:
            raise NoStreamError(node.name, "it takes the mean of channels of the residual stream")
        gone = 0 if node.op == "GlobalAveragePool" or node.attrs.get("keepdims", 1) else sum(one < axis for one in axes)
        return [axis - gone]
    labels = np.arange(size).reshape([-1 if place == axis else 1 for place in range(len(shape))])
    found = moved(node, [np.broadcast_to(labels, shape), *(np.zeros(0, np.int64) for _ in node.inputs[1:])])
    places = [] if found is None else [whole_axis(one, size) for one in found]
    if not places or None in places:
        raise NoStreamError(node.name, "it takes vectors of the residual stream apart")
    return [place for place in places if place is not None]


def puts_zeros_beside(node: gs.Node) -> bool:
    """Whether it reads zeros beside its input, or puts some there."""
    if node.op == "Pad":
        return str(node.attrs.get("mode", "constant")) == "constant"
    return reads_zeros_beside(node)


def whole_axis(labels: Array, size: int) -> int | None:
    """The axis along which labels count from 0 to `size`."""
    for axis, length in enumerate(labels.shape):
        if length == size:
            lines = np.moveaxis(labels, axis, -1)
            if (lines == np.arange(size)).all():
                return axis
    return None


def tensor_rank(tensor: gs.Tensor) -> int:
    return len(static_shape(tensor) or ()) if not isinstance(tensor, gs.Constant) else int(tensor.values.ndim)
