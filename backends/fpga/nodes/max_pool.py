"""MaxPool: windows by channel, and the largest of each."""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.fpga.node import LogicNode
from bevel.backends.fpga.pools import PoolNode
from bevel.backends.fpga.stages.window import Geometry
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.program import Call


@dataclass(frozen=True, eq=False)
class MaxPoolNode(PoolNode):
    @property
    def geometry(self) -> Geometry:
        op = self.call.kernel
        assert isinstance(op, MaxPool)
        size = (op.height, op.width, op.channels)
        return Geometry(*size, op.kernel, op.strides, op.dilations, op.pads, op.positions)

    @property
    def fill(self) -> int:
        return -(1 << (self.given(1).bits - 1))


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, MaxPool)
    if op.batch != 1:
        return f"a batch of {op.batch}"
    return MaxPoolNode(call, name, inputs)
