"""Transpose: a frame is kept, and read in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from bevel.backends.fpga.node import Folding, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages.reorder import Reorder
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.transpose import Transpose
from bevel.backends.program.program import Call


@dataclass(frozen=True, eq=False)
class TransposeNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        op = self.call.kernel
        assert isinstance(op, Transpose)
        strides = [prod(op.shape[axis + 1 :]) for axis in range(len(op.shape))]
        axes = tuple((op.shape[axis], strides[axis]) for axis in op.perm if op.shape[axis] > 1)
        return [Reorder(self.name, inputs=(self.given(1),), output=self.made(1), axes=axes or ((1, 1),))]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    return TransposeNode(call, name, inputs, channels=1)
