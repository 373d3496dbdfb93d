"""What a pass is: a frozen dataclass whose fields are its options, and a truthful account of what it did."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import onnx_graphsurgeon as gs


@dataclass(frozen=True)
class Note:
    """One decision about one node, for the report: what changed, or why nothing did.

    reason: of a node that stays float, why, for a refusal to quote; empty for all other decisions.
    """

    node: str
    text: str
    reason: str = ""


def stays_float(node: str, reason: str) -> Note:
    return Note(node, f"stays float: {reason}", reason)


@dataclass
class PassResult:
    graph: gs.Graph
    modified: bool
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True)
class Pass(ABC):
    """A rewrite of the graph, in place. Subclasses name themselves and define `call`."""

    name: ClassVar[str]
    spells: ClassVar[dict[str, str]] = {}  # operators that go wherever they stand, and what they become, if anything

    @abstractmethod
    def call(self, graph: gs.Graph) -> PassResult:
        """Rewrite and account for it; `modified` must be true exactly when something changed."""

    def __call__(self, graph: gs.Graph) -> PassResult:
        result = self.call(graph)
        if result.modified:
            result.graph.cleanup().toposort()
        return result


def run_passes(passes: Sequence[Pass], graph: gs.Graph) -> PassResult:
    """The passes in order, once each; notes in the order they were made."""
    notes: list[Note] = []
    modified = False
    for one in passes:
        result = one(graph)
        graph, modified = result.graph, modified or result.modified
        notes += result.notes
    return PassResult(graph, modified, notes)
