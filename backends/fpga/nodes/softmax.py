"""Softmax of whole rows, one element at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.fpga.node import Folding, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages import softmax
from bevel.backends.fpga.stages.wide_softmax import WideSoftmaxStage
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.softmax import Softmax, WideSoftmax
from bevel.backends.program.program import Call
from bevel.calib.arithmetic.softmax import LONGEST


@dataclass(frozen=True, eq=False)
class SoftmaxNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        op = self.call.kernel
        assert isinstance(op, Softmax)
        table = tuple(int(entry) for entry in self.call.constants[0])
        given, made = (self.given(1),), self.made(1)
        return [softmax.SoftmaxStage(self.name, inputs=given, output=made, n=op.n, table=table, epilogue=op.output)]


@dataclass(frozen=True, eq=False)
class WideSoftmaxNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        op = self.call.kernel
        assert isinstance(op, WideSoftmax)
        coarse, fine = (tuple(int(entry) for entry in table) for table in self.call.constants)
        made = WideSoftmaxStage(
            self.name,
            inputs=(self.given(1),),
            output=self.made(1),
            n=op.n,
            coarse=coarse,
            fine=fine,
            bits=op.bits,
            epilogue=op.output,
        )
        return [made]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, Softmax | WideSoftmax)
    if op.mask is not None:
        return "a Softmax with a mask has no hardware yet"
    if isinstance(op, Softmax):
        return SoftmaxNode(call, name, inputs, channels=1)
    if op.n < 2 or op.n > LONGEST:
        return f"rows of {op.n} elements of 16 bits"
    return WideSoftmaxNode(call, name, inputs, channels=1)
