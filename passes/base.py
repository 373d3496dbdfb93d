"""What a pass is: a frozen dataclass whose fields are its options, with a checked contract and a truthful account."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bevel.passes.graph.names import names_kept

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs

    from bevel.backends.target import Target
    from bevel.calib.data.dataset import Runs
    from bevel.calib.observe.base import Want
    from bevel.calib.observe.observe import Wanted
    from bevel.calib.observe.statistics import Statistics
    from bevel.passes.quantize.chosen import Chosen
    from bevel.passes.quantize.planned import Planned
    from bevel.passes.quantize.round_weights import Rounded
    from bevel.passes.transform.record import TransformRecord

COMMAND = {"command": True}  # metadata of a field that is set for each run, and by no recipe
Stage = Literal["transform", "assign", "quantize", "integerize"]  # of a recipe, in this order
CHECKS = "BEVEL_CHECKS"  # the environment variable that has every pass checked, and not only whole pipelines

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
    figures that decided, by names that end in their unit where they have one (`lost_db`, `table_bytes`); infinite ones,
    as of an error of 0, are left out, since JSON has none.
    """

    pass_: str
    node: str
    kind: Kind
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", {name: one for name, one in self.numbers.items() if isfinite(one)})


def int8() -> Chosen:
    from bevel.passes.quantize.chosen import Chosen

    return Chosen()


@dataclass(frozen=True)
class Work:
    """What passes hand on. The graph is edited in place: a Work that was given to a pass is spent.

    target: the machine, where one is known; data: calibration samples; observations: what they showed, by tensor of the
    float graph; schemes: the formats that tensors shall have; planned: the scales they got; codes: of weights,
    until `insert-qdq` puts them into the graph, where a `CodedConstant` keeps them for all that follows; formats,
    rounders: what quantized nodes came to, for the report; ports: what the integers of an integer graph's inputs and
    outputs mean, as the metadata of the model says it; narrower: integer models with weights of fewer bits, by these;
    states: the inputs that are outputs of the run before; transforms: what the float graph went through, for the
    report; notes: in the order they were made.
    """

    graph: gs.Graph
    target: Target | None = None
    data: Runs | None = None
    observations: Mapping[str, Statistics] = field(default_factory=dict)
    schemes: Chosen = field(default_factory=int8)
    planned: Planned | None = None
    codes: tuple[Rounded, ...] = ()
    formats: Mapping[str, str] = field(default_factory=dict)
    rounders: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    transforms: tuple[TransformRecord, ...] = ()
    narrower: Mapping[int, onnx.ModelProto] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    @property
    def samples(self) -> Runs:
        """The data of a Work that has some: a condition of a pass that asks."""
        assert self.data is not None
        return self.data

    @property
    def plan(self) -> Planned:
        """That of a Work that has one: a condition of a pass that asks."""
        assert self.planned is not None
        return self.planned

    def result(self, modified: bool, notes: Iterable[Note] = (), **changed: Any) -> PassResult:
        """What a pass gives back: this with `notes` on top and the fields `changed`."""
        return PassResult(replace(self, notes=(*self.notes, *notes), **changed), modified)


@dataclass(frozen=True)
class PassResult:
    """fingerprint: of the graph, where the pass was audited."""

    work: Work
    modified: bool  # whether the graph is another, or was changed; notes may be new where it is not
    fingerprint: str | None = field(default=None, compare=False)

    @property
    def graph(self) -> gs.Graph:
        return self.work.graph

    @property
    def notes(self) -> tuple[Note, ...]:
        return self.work.notes


@dataclass(frozen=True)
class Condition:
    """Something that holds for a Work. broken: what of it does not, in words; nothing where it holds."""

    name: str
    broken: Callable[[Work], Iterable[str]]


class ContractError(AssertionError):
    """A pass met or left a graph other than it says: a bug of ours, not of the user's model."""


@dataclass(frozen=True)
class Pass(ABC):
    """A rewrite of the graph, in place. Subclasses name themselves and define `call`.

    requires, ensures: what holds before and after, whatever the model. `spells` are operators that go wherever they
    stand, and what they become, if anything.
    """

    name: ClassVar[str]
    requires: ClassVar[tuple[Condition, ...]] = ()
    ensures: ClassVar[tuple[Condition, ...]] = ()
    spells: ClassVar[Mapping[str, str]] = {}
    stage: ClassVar[Stage | None] = None  # where a recipe may name it; None: no recipe does
    follows: ClassVar[tuple[str, ...]] = ()  # the passes of a recipe that must not stand behind it
    always_checked: ClassVar[bool] = False  # else only where the environment asks for it, as all tests do

    @property
    def asks(self) -> tuple[Callable[[gs.Graph], Wanted], ...]:
        """What must have been observed of a canonical float graph before the pass runs."""
        return ()

    def wants(self, graph: gs.Graph) -> Wanted:
        """All that it asks for of `graph`, by tensor. Passes that ask for the same are answered once."""
        found: dict[str, dict[Want, None]] = {}
        for ask in dict.fromkeys(self.asks):
            for name, wants in ask(graph).items():
                found.setdefault(name, {}).update(dict.fromkeys(wants))
        return found

    @abstractmethod
    def call(self, work: Work) -> PassResult:
        """Rewrite and account for it; `modified` must be true exactly when something changed."""

    def note(self, node: str, kind: Kind, text: str, **numbers: float) -> Note:
        return Note(self.name, node, kind, text, numbers)

    def __call__(self, work: Work, fingerprint: str | None = None) -> PassResult:
        """Raises ContractError where a condition does not hold.

        fingerprint: that of the work's graph, from one who knows that nobody edited it since that was taken.
        """
        debug = bool(os.environ.get(CHECKS))
        if debug or self.always_checked:
            self.check(work, "requires", (*self.requires, self.observed))
        result = self.audited(work, fingerprint) if debug else self.swept(work)
        if debug or self.always_checked:
            self.check(result.work, "ensures", self.ensures)
        return result

    @property
    def observed(self) -> Condition:
        """That what it wants was observed."""

        def unseen(work: Work) -> Iterator[str]:
            for name, wants in self.wants(work.graph).items():
                seen = work.observations[name].seen if name in work.observations else {}
                yield from (f"{want.kind.__name__} of {name}" for want in wants if want not in seen)

        return Condition("observations of what it wants, but nobody saw", unseen)

    def swept(self, work: Work) -> PassResult:
        with names_kept(work.graph):
            result = self.call(work)
        if result.modified:
            result.graph.cleanup().toposort()
        return result

    def audited(self, work: Work, known: str | None) -> PassResult:
        """`swept`, with `modified` compared with the graph. known: the graph's fingerprint, where there is one."""
        from bevel.passes.graph.fingerprint import fingerprint

        given, before = work.graph, known or fingerprint(work.graph)
        result = self.swept(work)
        after = fingerprint(result.graph)
        changed = result.graph is not given or after != before
        if changed != result.modified:
            raise ContractError(
                f"pass {self.name} {'changed' if changed else 'left'} the graph and says that it "
                f"{'changed' if result.modified else 'left'} it"
            )
        return replace(result, fingerprint=after)

    def check(self, work: Work, verb: str, conditions: Sequence[Condition]) -> None:
        for condition in conditions:
            for found in condition.broken(work):
                raise ContractError(f"pass {self.name} {verb} {condition.name}: {found}")
