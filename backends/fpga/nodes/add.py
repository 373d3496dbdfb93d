"""Add and Sub of two streams of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.fpga.node import Folding, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages.two import Two
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.add import Add
from bevel.backends.program.program import Call


@dataclass(frozen=True, eq=False)
class AddNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        assert isinstance(self.call.kernel, Add)
        given = (self.given(folding.channels, 0), self.given(folding.channels, 1))
        return [Two(self.name, inputs=given, output=self.made(folding.channels), add=self.call.kernel)]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, Add)
    if op.a_shape != op.shape or op.b_shape != op.shape:
        return "one of its inputs is repeated along an axis"
    return AddNode(call, name, inputs, channels=op.shape[-1] if op.shape else 1)
