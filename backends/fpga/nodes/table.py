"""A function of one tensor of codes of 8 bits, or of 16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.fpga.node import Folding, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages import table
from bevel.backends.fpga.stages.wide_table import WideTableStage
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.table import Table, WideTable
from bevel.backends.program.program import Call

MOST = 16  # lanes: each has a table


@dataclass(frozen=True, eq=False)
class TableNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        entries = tuple(int(entry) for entry in self.call.constants[0])
        given, made = (self.given(folding.channels),), self.made(folding.channels)
        return [table.TableStage(self.name, inputs=given, output=made, entries=entries)]


@dataclass(frozen=True, eq=False)
class WideTableNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        op, (blocks, ends) = self.call.kernel, self.call.constants
        assert isinstance(op, WideTable)
        made = WideTableStage(
            self.name,
            inputs=(self.given(1),),
            output=self.made(1),
            blocks=blocks,
            ends=ends,
            block=op.block,
            fraction=op.fraction,
            epilogue=op.output,
        )
        return [made]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    if isinstance(op, WideTable):
        return WideTableNode(call, name, inputs, channels=1)
    assert isinstance(op, Table)
    lanes = max(one for one in range(1, MOST + 1) if op.size % one == 0)
    return TableNode(call, name, inputs, channels=lanes)
