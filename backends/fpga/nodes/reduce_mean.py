"""ReduceMean and GlobalAveragePool: sums of channels over all pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.fpga.node import Folding, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages.mean import MeanStage
from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.program import Call


@dataclass(frozen=True, eq=False)
class MeanNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        op = self.call.kernel
        assert isinstance(op, ReduceMean)
        start = -op.reduced * op.x_zero_point
        low, high = self.inputs[0]
        sums = start + min(low, 0) * op.reduced, start + max(high, 0) * op.reduced
        multiplier, shift = np.array([op.multiplier]), np.array([op.shift])
        made = MeanStage(
            self.name,
            inputs=(self.given(folding.channels),),
            output=self.made(folding.channels),
            pixels=op.reduced,
            channels=op.inner,
            start=start,
            sums=sums,
            rescaling=Requantizer(f"{self.name}_rescale", sums, multiplier, shift, op.output),
        )
        return [made]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, ReduceMean)
    if op.shift < 1:
        return "a rescaling without a shift"
    return MeanNode(call, name, inputs, channels=op.inner)
