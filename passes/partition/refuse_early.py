"""Refuse what a target of integers cannot run before minutes are spent on calibrating it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from bevel.backends.program.island import Importer
from bevel.calib.errors import UserError
from bevel.passes.base import COMMAND, Condition, Pass, PassResult, Work
from bevel.passes.conditions import FLOAT, STATIC_SHAPES
from bevel.passes.operators.base import NoKernel
from bevel.passes.partition.partition import MOVES
from bevel.passes.partition.refuse_floats import reasons_of, refusal
from bevel.passes.quantize.plan import make_plan


@dataclass(frozen=True)
class RefuseEarly(Pass):
    """Raises UserError, as `partition` would in the end, where nodes of a canonical float graph have no integer kernel
    whatever the data are, and the target runs no others. importer: of targets that do, for what the line advises."""

    name: ClassVar[str] = "refuse-early"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES, FLOAT)

    importer: Importer | None = field(default=None, metadata=COMMAND)

    def call(self, work: Work) -> PassResult:
        if work.target is not None and work.target.bare:
            reasons = reasons_of(make_plan(work.graph).notes)
            rest = [node for node in work.graph.nodes if node.op not in MOVES]
            floats = [node for node in rest if isinstance(reasons.get(node.name), NoKernel)]
            if floats:
                raise UserError(refusal(work.graph, floats, reasons, self.importer))
        return work.result(False)
