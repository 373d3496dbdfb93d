"""Softmax of whole rows of 8 bits, one element at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.fpga.node import Folding, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages import softmax
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.softmax import Softmax
from bevel.backends.program.program import Call


@dataclass(frozen=True, eq=False)
class SoftmaxNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        op = self.call.kernel
        assert isinstance(op, Softmax)
        table = tuple(int(entry) for entry in self.call.constants[0])
        given, made = (self.given(1),), self.made(1)
        return [softmax.SoftmaxStage(self.name, inputs=given, output=made, n=op.n, table=table, epilogue=op.output)]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    if not isinstance(op, Softmax):
        return "a Softmax of int16 has no hardware yet"
    if op.mask is not None:
        return "a Softmax with a mask has no hardware yet"
    return SoftmaxNode(call, name, inputs, channels=1)
