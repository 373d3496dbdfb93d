"""RoundEven of a stream of sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.fpga.node import Folding, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages.round_even import RoundEvenStage
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.round_even import RoundEven
from bevel.backends.program.program import Call

MOST = 16  # lanes: each has multiplier blocks


@dataclass(frozen=True, eq=False)
class RoundEvenNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        op = self.call.kernel
        assert isinstance(op, RoundEven)
        given, made = self.given(folding.channels), self.made(folding.channels)
        return [RoundEvenStage(self.name, inputs=(given,), output=made, op=op)]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, RoundEven)
    if op.shift < 1:
        return "a rescaling without a shift"
    lanes = max(one for one in range(1, MOST + 1) if op.size % one == 0)
    return RoundEvenNode(call, name, inputs, channels=lanes)
