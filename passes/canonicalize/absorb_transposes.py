"""Let Transposes meet and vanish across operators that work in any layout.

    f(transpose(x, p), transpose(y, p)) == transpose(f(x, y), p)          f elementwise, or with its axes renamed

A converter from a channels-last framework wraps each convolution in two Transposes. Between them lie regions of
layout-free operators (`layout.py`). A region moves to the layout of the Transposes around it when that leaves fewer
Transposes than before, or no more and the region meets a convolution; a Transpose on a graph input may stay. Exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.layout import data_inputs, is_layout_free, move
from bevel.passes.canonicalize.linear import LINEAR
from bevel.passes.canonicalize.merge_transposes import compose, inverse, permutation, reduced_axes
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, fresh, is_output, producer, static_shape, variable


class LayoutRegion(NamedTuple):
    """Connected layout-free nodes, the tensors that enter them and the tensors that leave them."""

    nodes: list[gs.Node]
    entries: list[gs.Tensor]
    exits: list[gs.Tensor]


@dataclass(frozen=True)
class AbsorbTransposes(Pass):
    """Leaves no more Transposes than it found."""

    name: ClassVar[str] = "absorb-transposes"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        notes = []
        while (found := next(profitable(graph), None)) is not None:
            region, perm, gain = found
            relayout(graph, region, perm)
            effect = f"{gain} Transposes less" if gain else "they meet the linear nodes before them"
            text = f"changed layout with its neighbours: {effect}"
            notes.append(self.note(region.nodes[0].name, "changed", text, transposes_gone=gain))
            graph.cleanup().toposort()
        return work.result(bool(notes), notes)


def profitable(graph: gs.Graph) -> Iterator[tuple[LayoutRegion, list[int], int]]:
    """The regions that some layout suits better, with that layout and the Transposes it saves.

    Where nothing is saved or lost, a region right behind linear nodes moves too: scales and activations then meet them.
    """
    for region in find_regions(graph):
        perm, gain = best_layout(graph, region)
        if gain > 0 or (perm and gain == 0 and follows_linear(graph, region, perm)):
            yield region, perm, gain


def follows_linear(graph: gs.Graph, region: LayoutRegion, perm: list[int]) -> bool:
    """Whether all that enters comes from linear nodes through Transposes by `perm`, which then vanish from there.

    So nothing is put before the region, and no later step can move it back.
    """
    inside = {id(node) for node in region.nodes}
    makers = [producer(tensor) for tensor in region.entries]
    for tensor, maker in zip(region.entries, makers, strict=True):
        if maker is None or maker.op != "Transpose" or permutation(maker) != perm:
            return False
        source = producer(maker.inputs[0])
        if source is None or source.op not in LINEAR or is_output(graph, tensor):
            return False
        if any(id(reader) not in inside for reader in tensor.outputs):
            return False
    return bool(makers)


def find_regions(graph: gs.Graph) -> list[LayoutRegion]:
    free = {id(node): node for node in alive(graph) if is_layout_free(node)}
    regions = []
    while free:
        _, seed = free.popitem()
        nodes, frontier = [], [seed]
        while frontier:
            node = frontier.pop()
            nodes.append(node)
            for other in neighbours(node):
                if free.pop(id(other), None) is not None:
                    frontier.append(other)
        regions.append(LayoutRegion(nodes, *borders(graph, nodes)))
    return regions


def neighbours(node: gs.Node) -> list[gs.Node]:
    """Producers of the node's data, and readers of its outputs that read them as data."""
    makers = [maker for i in data_inputs(node) if (maker := producer(node.inputs[i])) is not None]
    return makers + [reader for tensor in node.outputs for reader in tensor.outputs if reads_as_data(reader, tensor)]


def reads_as_data(node: gs.Node, tensor: gs.Tensor) -> bool:
    return all(i in data_inputs(node) for i, source in enumerate(node.inputs) if source is tensor)


def borders(graph: gs.Graph, nodes: list[gs.Node]) -> tuple[list[gs.Tensor], list[gs.Tensor]]:
    inside = {id(node) for node in nodes}
    entries = {id(t): t for node in nodes for i in data_inputs(node) if not made_in(t := node.inputs[i], inside)}
    exits = {
        id(tensor): tensor
        for node in nodes
        for tensor in node.outputs
        if is_output(graph, tensor) or any(id(reader) not in inside for reader in tensor.outputs)
    }
    return [tensor for tensor in entries.values() if not isinstance(tensor, gs.Constant)], list(exits.values())


def made_in(tensor: gs.Tensor, inside: set[int]) -> bool:
    maker = producer(tensor)
    return maker is not None and id(maker) in inside


def best_layout(graph: gs.Graph, region: LayoutRegion) -> tuple[list[int], int]:
    """The layout that removes most Transposes, and how many; ([], 0) where there are none around."""
    before = [permutation(t.inputs[0]) for t in region.entries if t.inputs and t.inputs[0].op == "Transpose"]
    behind = [inverse(permutation(node)) for t in region.exits for node in t.outputs if node.op == "Transpose"]
    # A Transpose that has become an identity waits for RemoveIdentity and is nothing to gain.
    candidates = {tuple(perm) for perm in (*before, *behind) if perm != sorted(perm)}
    gains = {perm: saving(graph, region, list(perm)) for perm in sorted(candidates)}
    if not gains:
        return [], 0
    best = max(gains, key=lambda perm: (gains[perm], perm in {tuple(one) for one in before}))
    return list(best), gains[best]


def saving(graph: gs.Graph, region: LayoutRegion, perm: list[int]) -> int:
    """Transposes that vanish less those that appear when the region leaves layout `perm`."""
    inside = {id(node) for node in region.nodes}
    total = 0
    for tensor in region.entries:
        maker = producer(tensor)
        transpose = maker is not None and maker.op == "Transpose"
        only_ours = all(id(reader) in inside for reader in tensor.outputs) and not is_output(graph, tensor)
        matches = transpose and permutation(maker) == perm
        total += int(transpose and only_ours) - int(not matches)
    for tensor in region.exits:
        outside = [reader for reader in tensor.outputs if id(reader) not in inside]
        transposes = [reader for reader in outside if reader.op == "Transpose"]
        absorbing = [reader for reader in outside if reduced_axes(reader, perm) is not None]
        total -= int(is_output(graph, tensor) or len(transposes) + len(absorbing) < len(outside))
        total += sum(permutation(reader) == inverse(perm) for reader in transposes)
    return total


def relayout(graph: gs.Graph, region: LayoutRegion, perm: list[int]) -> None:
    """Move the region from layout `perm` to the plain one; Transposes around it are composed or added."""
    inside = {id(node) for node in region.nodes}
    exits = {id(tensor) for tensor in region.exits}
    for tensor in region.entries:
        plain = enter(graph, tensor, perm)
        for node in region.nodes:
            for i in data_inputs(node):
                if node.inputs[i] is tensor:
                    node.inputs[i] = plain
    for node in region.nodes:
        move(graph, node, perm)
        for i, tensor in enumerate(node.outputs):
            shape = [tensor.shape[axis] for axis in inverse(perm)]
            if id(tensor) in exits:
                leave(graph, node, i, perm, inside)
            node.outputs[i].shape = tuple(shape)


def enter(graph: gs.Graph, tensor: gs.Tensor, perm: list[int]) -> gs.Tensor:
    """The tensor with layout `perm` undone: from before its Transpose where one made it."""
    source, undo = tensor, inverse(perm)
    maker = producer(tensor)
    if maker is not None and maker.op == "Transpose":
        source, undo = maker.inputs[0], compose(permutation(maker), undo)
    if undo == sorted(undo):
        return source
    shape = [size for axis in undo for size in (static_shape(source) or ())[axis : axis + 1]]
    result = variable(graph, f"{tensor.name}.plain", tensor.dtype, shape)
    append(graph, "Transpose", result.name, [source], result, {"perm": undo})
    return result


def leave(graph: gs.Graph, node: gs.Node, place: int, perm: list[int], inside: set[int]) -> None:
    """Let the readers outside see the layout they expect; a graph output keeps its name."""
    tensor = node.outputs[place]
    shape = static_shape(tensor) or ()
    outside = [reader for reader in tensor.outputs if id(reader) not in inside]
    if is_output(graph, tensor):
        plain = variable(graph, f"{tensor.name}.plain", tensor.dtype, shape)
        node.outputs[place] = plain
        for reader in list(tensor.outputs):
            if id(reader) in inside:
                replace_input(reader, tensor, plain)
        append(graph, "Transpose", plain.name, [plain], tensor, {"perm": perm})
        return
    for reader in outside:
        if reader.op == "Transpose":
            reader.attrs = {"perm": compose(perm, permutation(reader))}
    others = [reader for reader in outside if reader.op != "Transpose"]
    if others:
        transposed = variable(graph, f"{tensor.name}.transposed", tensor.dtype, shape)
        append(graph, "Transpose", fresh(graph, transposed.name), [tensor], transposed, {"perm": perm})
        for reader in others:
            replace_input(reader, tensor, transposed)


def replace_input(node: gs.Node, old: gs.Tensor, new: gs.Tensor) -> None:
    for i, tensor in enumerate(node.inputs):
        if tensor is old:
            node.inputs[i] = new
