"""A function of one tensor of codes of 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.fpga.node import Folding, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages import table
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.table import Table
from bevel.backends.program.program import Call

MOST = 16  # lanes: each has a table


@dataclass(frozen=True, eq=False)
class TableNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        entries = tuple(int(entry) for entry in self.call.constants[0])
        given, made = (self.given(folding.channels),), self.made(folding.channels)
        return [table.TableStage(self.name, inputs=given, output=made, entries=entries)]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    if not isinstance(op, Table):
        return "a function of int16 in straight lines has no hardware yet"
    lanes = max(one for one in range(1, MOST + 1) if op.size % one == 0)
    return TableNode(call, name, inputs, channels=lanes)
