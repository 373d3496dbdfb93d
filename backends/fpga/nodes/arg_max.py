"""ArgMax and ArgMin over the last axis, one element at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.fpga.node import Folding, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages import arg_max
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.arg_max import ArgMax
from bevel.backends.program.program import Call


@dataclass(frozen=True, eq=False)
class ArgMaxNode(Passing):
    @property
    def result(self) -> Bounds:
        assert isinstance(self.call.kernel, ArgMax)
        return 0, max(1, self.call.kernel.n - 1)

    def stages(self, folding: Folding) -> Sequence[Stage]:
        op = self.call.kernel
        assert isinstance(op, ArgMax)
        given, made = (self.given(1),), self.made(1)
        return [arg_max.ArgMaxStage(self.name, inputs=given, output=made, n=op.n, largest=op.largest, last=op.last)]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, ArgMax)
    if op.inner != 1:
        return "its axis is not the last one"
    return ArgMaxNode(call, name, inputs, channels=1)
