"""Graphs, and what refers to them, as bytes.

A node refers to its tensors and these to their nodes, so that pickling a graph as it is descends as deep as the graph.
Here nodes and tensors are laid out in two lists, and each refers to the others by their places in them, in the order it
had: what runs on a graph that was read back meets the same producers and consumers in the same order.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_graphsurgeon as gs
from onnx_graphsurgeon.util.misc import SynchronizedList

LINKS = ("inputs", "outputs")
REPEATED = ("RepeatedCompositeContainer", "RepeatedScalarContainer")  # lists of protobuf, which are part of a model


class NotStored(Exception):
    """What cannot be stored, or was stored by something else."""


@dataclass(frozen=True)
class FlatLinked:
    """A node, or a tensor: its class, what it holds itself, and the places of what it is linked with."""

    kind: type
    state: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class FlatGraph:
    """state: what a graph holds besides; ordered: the places of its nodes; others may hang on its tensors."""

    state: Mapping[str, Any]
    nodes: tuple[FlatLinked, ...]
    tensors: tuple[FlatLinked, ...]
    ordered: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def stored(value: object, outside: Mapping[str, object]) -> bytes:
    """`value`, with all graphs in it. outside: objects that stay what they are when it is read, by names of theirs.

    Raises NotStored where it holds a node or a linked tensor outside of its graph, or what nobody can store.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, outside).dump(value)
    except (pickle.PickleError, TypeError, AttributeError, RecursionError) as error:
        raise NotStored(str(error)) from error
    return buffer.getvalue()


def read(data: bytes, outside: Mapping[str, object]) -> Any:
    """What was `stored`. Raises NotStored for what was not."""
    try:
        return _Unpickler(io.BytesIO(data), outside).load()
    except (pickle.PickleError, TypeError, AttributeError, ImportError, EOFError, IndexError) as error:
        raise NotStored(str(error)) from error


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, outside: Mapping[str, object]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._names = {id(one): name for name, one in outside.items()}

    def persistent_id(self, one: object) -> str | None:
        return self._names.get(id(one))

    def reducer_override(self, one: Any) -> Any:
        if isinstance(one, gs.Graph):
            return graph_of, (flat(one),)
        if type(one).__name__ in REPEATED:
            return list, (list(one),)
        if isinstance(one, gs.Node) or (isinstance(one, gs.Tensor) and (one.inputs or one.outputs)):
            raise NotStored(f"{one.name!r} stands outside of its graph")
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, outside: Mapping[str, object]) -> None:
        super().__init__(file)
        self._outside = outside

    def persistent_load(self, name: str) -> object:
        if name not in self._outside:
            raise NotStored(f"nothing is called {name!r}")
        return self._outside[name]


def flat(graph: gs.Graph) -> FlatGraph:
    """`graph` and all that hangs on it."""
    nodes, tensors = _Places(graph.nodes), _Places((*graph.inputs, *graph.outputs))
    walked = 0, 0
    while walked != (found := (len(nodes.listed), len(tensors.listed))):
        nodes.add_linked(tensors.listed[walked[1] :])
        tensors.add_linked(nodes.listed[walked[0] :])
        walked = found
    held = {name: value for name, value in vars(graph).items() if name not in ("nodes", *LINKS)}
    return FlatGraph(
        held,
        tuple(_part(node, tensors) for node in nodes.listed),
        tuple(_part(tensor, nodes) for tensor in tensors.listed),
        nodes.of(graph.nodes),
        tensors.of(graph.inputs),
        tensors.of(graph.outputs),
    )


def graph_of(stored: FlatGraph) -> gs.Graph:
    """The way back."""
    nodes: list[Any] = [object.__new__(part.kind) for part in stored.nodes]
    tensors: list[Any] = [object.__new__(part.kind) for part in stored.tensors]
    for made, parts, others in ((nodes, stored.nodes, tensors), (tensors, stored.tensors, nodes)):
        for one, part in zip(made, parts, strict=True):
            vars(one).update(part.state)
            vars(one)["inputs"] = _linked(one, "outputs", (others[place] for place in part.inputs))
            vars(one)["outputs"] = _linked(one, "inputs", (others[place] for place in part.outputs))
    graph = gs.Graph()
    vars(graph).update(stored.state)
    graph.nodes = [nodes[place] for place in stored.ordered]
    graph.inputs = [tensors[place] for place in stored.inputs]
    graph.outputs = [tensors[place] for place in stored.outputs]
    return graph


class _Places:
    """Objects in the order they were met, and their places by identity: nodes and tensors compare by what they hold."""

    def __init__(self, first: Iterable[Any]) -> None:
        self.listed: list[Any] = []
        self._places: dict[int, int] = {}
        self.add(first)

    def add(self, some: Iterable[Any]) -> None:
        for one in some:
            if id(one) not in self._places:
                self._places[id(one)] = len(self.listed)
                self.listed.append(one)

    def add_linked(self, others: Iterable[Any]) -> None:
        for other in others:
            self.add(other.inputs)
            self.add(other.outputs)

    def of(self, some: Iterable[Any]) -> tuple[int, ...]:
        return tuple(self._places[id(one)] for one in some)


def _part(one: Any, others: _Places) -> FlatLinked:
    held = {name: value for name, value in vars(one).items() if name not in LINKS}
    return FlatLinked(type(one), held, others.of(one.inputs), others.of(one.outputs))


def _linked(owner: Any, field: str, some: Iterable[Any]) -> SynchronizedList:
    """Links that are there on the other side already."""
    made = SynchronizedList(owner, field, ())
    list.extend(made, some)
    return made
