"""The names that the tensors of a graph bear, so that a new one need not be looked for in all of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs


class Names:
    """Which tensors of a graph bear a name: found once, then told of each new tensor.

    A tensor that nothing makes and nothing reads any more has given up its name, unless it is a port of the graph.
    """

    def __init__(self, graph: gs.Graph) -> None:
        self.graph = graph
        self.bearers: dict[str, list[gs.Tensor]] = {}
        for node in graph.nodes:
            for tensor in (*node.inputs, *node.outputs):
                self.add(tensor)

    def add(self, tensor: gs.Tensor) -> None:
        if not tensor.name:  # an input that is left out
            return
        known = self.bearers.setdefault(tensor.name, [])
        if not any(one is tensor for one in known):
            known.append(tensor)

    def taken(self, name: str) -> bool:
        attached = any(one.name == name and (one.inputs or one.outputs) for one in self.bearers.get(name, ()))
        return attached or any(port.name == name for port in (*self.graph.inputs, *self.graph.outputs))

    def fresh(self, name: str) -> str:
        """`name`, or `name_1`, `name_2`, ...: the first that is not taken."""
        if not self.taken(name):
            return name
        return next(numbered for i in itertools.count(1) if not self.taken(numbered := f"{name}_{i}"))


_kept: dict[int, Names | None] = {}  # by the id of a graph inside `names_kept`; None until the first new tensor


@contextmanager
def names_kept(graph: gs.Graph) -> Iterator[None]:
    """While this lasts, names are looked for in all of the graph once, and not again for each new tensor.

    New tensors then come from `constant` and `variable` only, and none is renamed.
    """
    inside = id(graph) in _kept
    _kept[id(graph)] = None
    try:
        yield
    finally:
        del _kept[id(graph)]
        if inside:
            _kept[id(graph)] = None


def names_of(graph: gs.Graph) -> Names:
    if (known := _kept.get(id(graph))) is not None:
        return known
    names = Names(graph)
    if id(graph) in _kept:
        _kept[id(graph)] = names
    return names
