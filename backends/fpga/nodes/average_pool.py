"""AveragePool with one divisor for all windows: windows by channel, and the mean of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bevel.backends.fpga.node import LogicNode
from bevel.backends.fpga.pools import PoolNode
from bevel.backends.fpga.stages.pool import mean_sums
from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.fpga.stages.window import Geometry
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.program import Call


@dataclass(frozen=True, eq=False)
class AveragePoolNode(PoolNode):
    @property
    def op(self) -> AveragePool:
        assert isinstance(self.call.kernel, AveragePool)
        return self.call.kernel

    @property
    def geometry(self) -> Geometry:
        op = self.op
        size = (op.height, op.width, op.channels)
        return Geometry(*size, op.kernel, op.strides, (1, 1), op.pads, op.positions)

    @property
    def fill(self) -> int:
        return self.op.x_zero_point

    @property
    def zero_point(self) -> int:
        return self.op.x_zero_point

    @cached_property
    def mean(self) -> Requantizer:
        sums = mean_sums(self.inputs[0], self.zero_point, self.op.kernel[0] * self.op.kernel[1])
        multiplier, shift = (array.reshape(-1)[:1] for array in self.call.constants)
        return Requantizer(f"{self.name}_rescale", sums, multiplier, shift, self.op.output)


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
