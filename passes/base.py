"""What a pass is: a frozen dataclass whose fields are its options, and a truthful account of what it did."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from bevel.passes.graph.edit import names_kept

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

Kind = Literal[
    "changed",  # it is another node now, or a part of another
    "stays",  # it looked like something to change and was not: the text says why
    "no_kernel",  # it stays float: nothing here has an integer form for its operator
    "stays_float",  # it stays float: its operator has an integer form, but not for this node; the text is the reason
    "left_float",  # it stays float though it has an integer form: between float nodes that buys nothing
    "chosen",  # a format, scale, kernel or way that it got, out of several
    "refused",  # what was asked for, or would be best, and is not had
    "warned",  # what to know before its result is used
]
FLOAT_KINDS: tuple[Kind, ...] = ("no_kernel", "stays_float", "left_float")


@dataclass(frozen=True)
class Note:
    """One decision about one node, for the report: what changed, or why nothing did.

    pass_: the pass, or the stage of a run, that decided; text: for people, and nothing steers on it; numbers: the
    figures that decided, by names that end in their unit where they have one (`lost_db`, `table_bytes`).
    """

    pass_: str
    node: str
    kind: Kind
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict, hash=False)


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

    def note(self, node: str, kind: Kind, text: str, **numbers: float) -> Note:
        return Note(self.name, node, kind, text, numbers)

    def __call__(self, graph: gs.Graph) -> PassResult:
        with names_kept(graph):
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
