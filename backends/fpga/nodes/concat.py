"""Concat of streams and constants: so many elements of each in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod

from bevel.backends.fpga.node import Folding, Held, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages.join import JoinStage
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.concat import Concat
from bevel.backends.program.program import Call

HOLDS = True


@dataclass(frozen=True, eq=False)
class ConcatNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        op, lanes = self.call.kernel, folding.channels
        assert isinstance(op, Concat)
        given = tuple(self.given(lanes, place) for place in range(self.streams))
        parts = tuple(turn // lanes for turn in turns(op))
        return [JoinStage(self.name, inputs=given, output=self.made(lanes), parts=parts, held=dict(self.held))]


def turns(op: Concat) -> list[int]:
    """Elements of each input that follow each other."""
    return [prod(shape[op.axis :]) for shape in op.shapes]


def node(call: Call, name: str, inputs: tuple[Bounds, ...], held: Held) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, Concat)
    return ConcatNode(call, name, inputs, channels=gcd(*turns(op)))
