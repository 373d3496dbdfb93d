"""Keys of attention are centred: what all keys of a head have in common moves no share.

    softmax over k of (q (k - m)^T)  =  softmax over k of (q k^T - q m^T)  =  softmax over k of (q k^T)

as q m^T is one number for each query. Keys have channels that lie around a value far from 0 at all positions, also
behind a rotation, whose slow pairs hardly turn; one range for all channels has to hold those values, and few steps are
left for what differs between positions. Source: Zhang et al. 2025, "SageAttention: Accurate 8-Bit Attention for
Plug-and-play Inference Acceleration", section 4.2, which takes the mean of each run's keys; here m is the middle of
what calibration samples show of a channel, a constant.

Price: nothing, where a product by weights makes the keys and its bias takes m up; elsewhere an addition for each
element of the keys. Keys are centred where rounding them is predicted to cost the scores less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.calib.observe.extremes import BARRED
from bevel.passes.base import Note
from bevel.passes.graph.edit import append, constant, given, is_output, producer, variable
from bevel.passes.transform.gauges import Labels
from bevel.passes.transform.moved import MOVES, moved
from bevel.passes.transform.noise import rounded_values
from bevel.passes.transform.seen import channel_values, see
from bevel.passes.transform.smooth import GAIN, decibels
from bevel.passes.transform.transform import Changed, Transform
from bevel.passes.transform.uses import LINEAR, Array, has_plain_bias

PASSED = MOVES - {"Concat", "Pad"}


@dataclass(eq=False)
class Keys:
    """Keys of attention before what moves them to the products that read them. axis: along which positions lie;
    scores: those products, each with the channel of `tensor` that each of its summed elements is, [..., k]; blocked:
    channels that others read, too."""

    tensor: gs.Tensor
    axis: int
    scores: list[tuple[gs.Node, NDArray[np.int64]]] = field(default_factory=list)
    blocked: set[int] = field(default_factory=set)

    @property
    def rest(self) -> tuple[int, ...]:
        """The shape of what has one middle each."""
        shape = tuple(map(int, self.tensor.shape))
        return (*shape[: self.axis], 1, *shape[self.axis + 1 :])

    @property
    def free(self) -> NDArray[np.bool_]:
        """[channels]: which scores alone read."""
        read = {int(one) for _, channels in self.scores for one in channels.ravel()} - self.blocked
        return np.isin(np.arange(prod(self.rest)), list(read))


@dataclass(frozen=True)
class CenterKeys(Transform):
    name: ClassVar[str] = "center-keys"

    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Note]]:
        sites = list(find_keys(graph))
        read = [node.inputs[0].name for site in sites for node, _ in site.scores]
        arrays = see(graph, [*(site.tensor.name for site in sites), *read], samples) if sites else {}
        tensors, notes, operations = dict[str, int](), list[Note](), 0
        for site in sites:
            middle, gain = self.gained(site, arrays)
            if gain >= GAIN:
                operations += move(graph, site, middle)
                tensors[site.tensor.name] = channels_of(site)
                text = f"keys centred: rounding them is predicted to cost {gain:.1f} dB less of the scores"
                notes.append(self.note(site.scores[0][0].name, "changed", text, predicted_db=gain))
        if not tensors:
            return None, []
        return Changed(graph, len(tensors), tensors, tuple(notes), operations=operations), []

    def gained(self, site: Keys, arrays: Mapping[str, Sequence[NDArray[Any]]]) -> tuple[Array, float]:
        """The middles [size of `rest`], and how much less of the scores rounding costs with them, in dB."""
        lines = [np.moveaxis(one, site.axis, -1).reshape(-1, one.shape[site.axis]) for one in arrays[site.tensor.name]]
        values = channel_values(lines, 0)
        middle = np.where(site.free, (np.nanmin(values, 1) + np.nanmax(values, 1)) / 2, 0.0)
        heard = np.zeros(len(values))
        for node, channels in site.scores:
            queries = np.mean([np.square(one).mean(-2) for one in arrays[node.inputs[0].name]], 0)
            power = np.broadcast_to(queries, np.broadcast_shapes(queries.shape, channels.shape))
            heard += np.bincount(np.broadcast_to(channels, power.shape).ravel(), power.ravel(), len(values))
        keys, taken_off = values[site.free], middle[site.free]
        before, after = (self.error(one, heard[site.free]) for one in (keys, keys - taken_off[:, None]))
        return middle, decibels(before, after)

    def error(self, values: Array, heard: Array) -> float:
        lost = np.nanmean(np.square(rounded_values(values, self.activation_bits) - values), 1)
        return float(lost @ heard)


def find_keys(graph: gs.Graph) -> Iterator[Keys]:
    """In the order of the products that read them."""
    known: set[str] = set()
    for node in graph.nodes:
        if node.op != "MatMul" or len(node.inputs[1].shape) < 2:
            continue
        tensor = made_as(node.inputs[1])
        found = keys_at(graph, tensor) if producer(tensor) is not None and tensor.name not in known else None
        if found is not None:
            known.add(tensor.name)
            yield found


def made_as(tensor: gs.Tensor) -> gs.Tensor:
    """What moves made it of."""
    while (maker := producer(tensor)) is not None and maker.op in PASSED:
        tensor = maker.inputs[0]
    return tensor


def keys_at(graph: gs.Graph, tensor: gs.Tensor) -> Keys | None:
    """The keys in `tensor`, with positions along one of its axes: all of it, unless a bias makes the rest, too."""
    for axis, size in enumerate(map(int, tensor.shape)):
        site = Keys(tensor, axis)
        if size > 1:
            follow(graph, site)
            whole = bool(site.scores) and all(site.free[channels].all() for _, channels in site.scores)
            if whole and (site.free.all() or takes_up(site)):
                return site
    return None


def follow(graph: gs.Graph, site: Keys) -> None:
    """Find the products behind moves, along whose scores positions lie; what else reads a channel blocks it."""
    shape = tuple(map(int, site.tensor.shape))
    labels = np.broadcast_to(np.arange(prod(site.rest)).reshape(site.rest), shape)
    pending: list[tuple[gs.Tensor, Labels]] = [(site.tensor, labels)]
    while pending:
        tensor, labels = pending.pop()
        if is_output(graph, tensor):
            site.blocked |= set(np.unique(labels).tolist())
        for node in tensor.outputs:
            behind = None
            if node.op in PASSED and node.inputs[0] is tensor:
                behind = moved(node, [labels, *(np.zeros(0, np.int64) for _ in node.inputs[1:])])
            if behind is not None:
                pending += zip(node.outputs, behind, strict=True)
            elif reads_keys(graph, node, tensor) and (labels == labels[..., :1]).all():
                site.scores.append((node, labels[..., 0].astype(np.int64)))
            else:
                site.blocked |= set(np.unique(labels).tolist())


def reads_keys(graph: gs.Graph, node: gs.Node, tensor: gs.Tensor) -> bool:
    """Whether it makes scores of it that only come to be shares."""
    right = node.op == "MatMul" and node.inputs[1] is tensor and node.inputs[0] is not tensor
    return right and len(node.inputs[0].shape) >= 2 and becomes_shares(graph, node.outputs[0])


def becomes_shares(graph: gs.Graph, scores: gs.Tensor) -> bool:
    """Whether a number that is added to a row of scores goes into shares along rows alone, which do not feel it."""
    if is_output(graph, scores) or not scores.outputs:
        return False
    return all(
        ends_row(node) or (keeps_row(node, scores) and becomes_shares(graph, node.outputs[0]))
        for node in scores.outputs
    )


def ends_row(node: gs.Node) -> bool:
    axis, rank = int(node.attrs.get("axis", -1)), len(node.outputs[0].shape)
    return node.op in ("Softmax", "LogSoftmax") and axis % rank == rank - 1


def keeps_row(node: gs.Node, scores: gs.Tensor) -> bool:
    """Whether one number more in a row of what it reads is one number more in the row of what it makes."""
    same = list(node.outputs[0].shape) == list(scores.shape)
    others = [one for one in node.inputs if one is not scores]
    if not same or node.domain or len(others) != len(node.inputs) - 1:
        return False
    match node.op:
        case "Add" | "Sub":
            return True
        case "Mul":
            return spreads_over_rows(others[0])
        case "Div":
            return node.inputs[0] is scores and spreads_over_rows(others[0])
        case "Where":
            fills = [one for one in node.inputs[1:] if one is not scores]
            return len(fills) == 1 and bars(fills[0])
    return bool(node.op == "Identity")


def spreads_over_rows(factor: gs.Tensor) -> bool:
    return isinstance(factor, gs.Constant) and (not factor.shape or int(factor.shape[-1]) == 1)


def bars(fill: gs.Tensor) -> bool:
    return isinstance(fill, gs.Constant) and bool((np.asarray(fill.values) <= BARRED).all())


def channels_of(site: Keys) -> int:
    """The last axis but that of positions."""
    return max(axis for axis in range(len(site.tensor.shape)) if axis != site.axis)


def move(graph: gs.Graph, site: Keys, middle: Array) -> int:
    """Take the middles off; how many additions a run has more by it."""
    keys, node = site.tensor, producer(site.tensor)
    assert node is not None, "keys are computed (`before`)"
    if takes_up(site):
        bias = given(node, 2)
        have = np.zeros(len(middle)) if bias is None else np.asarray(bias.values, np.float64)
        name = f"{node.name}/bias" if bias is None else bias.name
        new = constant(graph, name, (have - middle).astype(np.float32))
        node.inputs = [*node.inputs[:2], new]
        return 0
    place = next(index for index, one in enumerate(node.outputs) if one is keys)
    raw = variable(graph, f"{keys.name}/raw", keys.dtype, keys.shape)
    offset = constant(graph, f"{keys.name}/middle", -middle.reshape(site.rest).astype(np.float32))
    node.outputs[place] = raw
    made, node.name = node.name, f"{node.name}/raw"
    append(graph, "Add", made, [raw, offset], keys)  # what keeps the keys knows them by this name
    return prod(map(int, keys.shape))


def takes_up(site: Keys) -> bool:
    """Whether a product by weights makes the keys, of whose channels each has a middle of its own."""
    node = producer(site.tensor)
    if node is None or node.op not in LINEAR or (node.op == "Gemm" and node.attrs) or not has_plain_bias(node):
        return False
    channels = len(site.tensor.shape) - 1 if node.op == "Gemm" else 1
    return site.axis != channels and prod(site.rest) == site.rest[channels]
