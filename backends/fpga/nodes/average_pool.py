"""AveragePool with one divisor for all windows: windows by channel, and the mean of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.fpga.node import Folding, LogicNode, divisors
from bevel.backends.fpga.stage import BeatStream, Stage
from bevel.backends.fpga.stages.pool import PoolStage, mean_sums
from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.fpga.stages.window import Geometry, WindowStage
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.program import Call


@dataclass(frozen=True, eq=False)
class AveragePoolNode(LogicNode):
    @property
    def op(self) -> AveragePool:
        assert isinstance(self.call.kernel, AveragePool)
        return self.call.kernel

    def foldings(self) -> Sequence[Folding]:
        rows = sorted({1, self.op.kernel[0]})
        return [Folding(rows=row, channels=lanes) for lanes in divisors(self.op.channels) for row in rows]

    def stages(self, folding: Folding) -> Sequence[Stage]:
        op, x = self.op, self.given(folding.channels)
        size = (op.height, op.width, op.channels)
        g = Geometry(*size, op.kernel, op.strides, (1, 1), op.pads, op.positions)
        taps = op.kernel[0] * op.kernel[1]
        elements = g.positions[0] * g.positions[1] * taps * op.channels
        windows = BeatStream(elements, folding.rows * folding.channels, x.bounds, x.bits)
        window = WindowStage(
            f"{self.name}_window",
            inputs=(x,),
            output=windows,
            geometry=g,
            pace=0,
            rows=folding.rows,
            by_channel=True,
            fill=op.x_zero_point,
        )
        multiplier, shift = (array.reshape(-1)[:1] for array in self.call.constants)
        sums = mean_sums(x.bounds, op.x_zero_point, taps)
        pool = PoolStage(
            self.name,
            inputs=(windows,),
            output=self.made(folding.channels),
            rows=folding.rows,
            beats=taps // folding.rows,
            zero_point=op.x_zero_point,
            mean=Requantizer(f"{self.name}_rescale", sums, multiplier, shift, op.output),
        )
        return [window, pool]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, AveragePool)
    if op.batch != 1:
        return f"a batch of {op.batch}"
    multiplier, shift = call.constants
    if np.ptp(multiplier) or np.ptp(shift):
        return "windows at the edges have other divisors: give count_include_pad=1"
    if int(shift.min()) < 1:
        return "a rescaling without a shift"
    low, high = inputs[0]
    return AveragePoolNode(call, name, ((min(low, op.x_zero_point), max(high, op.x_zero_point)),))
