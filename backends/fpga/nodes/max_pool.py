"""MaxPool: windows by channel, and the largest of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.fpga.node import Folding, LogicNode, divisors
from bevel.backends.fpga.stage import BeatStream, Stage
from bevel.backends.fpga.stages.pool import PoolStage
from bevel.backends.fpga.stages.window import Geometry, WindowStage
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.program import Call


@dataclass(frozen=True, eq=False)
class MaxPoolNode(LogicNode):
    @property
    def op(self) -> MaxPool:
        assert isinstance(self.call.kernel, MaxPool)
        return self.call.kernel

    def foldings(self) -> Sequence[Folding]:
        rows = sorted({1, self.op.kernel[0]})
        return [Folding(rows=row, channels=lanes) for lanes in divisors(self.op.channels) for row in rows]

    def stages(self, folding: Folding) -> Sequence[Stage]:
        op, x = self.op, self.given(folding.channels)
        size = (op.height, op.width, op.channels)
        g = Geometry(*size, op.kernel, op.strides, op.dilations, op.pads, op.positions)
        taps = op.kernel[0] * op.kernel[1]
        elements = g.positions[0] * g.positions[1] * taps * op.channels
        windows = BeatStream(elements, folding.rows * folding.channels, x.bounds, x.bits)
        fill = -(1 << (x.bits - 1))
        window = WindowStage(
            f"{self.name}_window",
            inputs=(x,),
            output=windows,
            geometry=g,
            pace=0,
            rows=folding.rows,
            by_channel=True,
            fill=fill,
        )
        beats = taps // folding.rows
        pool = PoolStage(
            self.name,
            inputs=(windows,),
            output=self.made(folding.channels),
            rows=folding.rows,
            beats=beats,
            zero_point=0,
            mean=None,
        )
        return [window, pool]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, MaxPool)
    if op.batch != 1:
        return f"a batch of {op.batch}"
    return MaxPoolNode(call, name, inputs)
