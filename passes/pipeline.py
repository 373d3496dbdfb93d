"""Passes in order, once or until nothing changes: themselves passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from bevel.passes.base import Pass, PassResult, Work

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from bevel.calib.observe.observe import Wanted


@dataclass(frozen=True)
class Pipeline(Pass):
    """Each of `passes` once. Notes stand in the order they were made."""

    name: ClassVar[str] = "pipeline"
    passes: Sequence[Pass] = ()

    @property
    def asks(self) -> tuple[Callable[[gs.Graph], Wanted], ...]:
        """What any of them asks for; those that run on what others made of the graph ask it of what is there now."""
        return tuple(ask for one in self.passes for ask in one.asks)

    def swept(self, work: Work) -> PassResult:
        """Each of them sweeps what it changed."""
        return self.call(work)

    def call(self, work: Work) -> PassResult:
        modified, fingerprint = False, None
        for one in self.passes:
            result = one(work, fingerprint)
            work, modified, fingerprint = result.work, modified or result.modified, result.fingerprint
        return PassResult(work, modified)


@dataclass(frozen=True)
class Settled(Pass):
    """`passes` again and again until a round changes nothing.

    A note that something stays counts only from the last round: what stayed in an earlier one may have gone since.
    """

    name: ClassVar[str] = "settled"
    passes: Sequence[Pass] = ()
    most_rounds: int = 20  # each removes or renames something for good; real models settle in three or four

    def swept(self, work: Work) -> PassResult:
        return self.call(work)

    def call(self, work: Work) -> PassResult:
        before, modified = len(work.notes), False
        for _ in range(self.most_rounds):
            kept = (*work.notes[:before], *(note for note in work.notes[before:] if note.kind != "stays"))
            result = Pipeline(self.passes)(replace(work, notes=kept))
            work = result.work
            if not result.modified:
                return PassResult(work, modified)
            modified = True
        raise AssertionError(f"passes did not settle in {self.most_rounds} rounds: {[one.name for one in self.passes]}")
