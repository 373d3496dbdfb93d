"""Slice in steps of 1: what is not between its ends is taken and dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from bevel.backends.fpga.node import Folding, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages.cut import AxisCut, CutStage
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.slice import Slice
from bevel.backends.program.program import Call


@dataclass(frozen=True, eq=False)
class SliceNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        op, lanes = self.call.kernel, folding.channels
        assert isinstance(op, Slice)
        axes = [AxisCut(*axis) for axis in zip(op.shape, op.starts, op.sizes, strict=True) if axis[0] > 1]
        *outer, last = axes or [AxisCut(1, 0, 1)]
        inner = AxisCut(last.extent // lanes, last.first // lanes, last.size // lanes)
        return [CutStage(self.name, inputs=(self.given(lanes),), output=self.made(lanes), axes=(*outer, inner))]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, Slice)
    steps = zip(op.steps, op.sizes, strict=True)
    if any(step != 1 for step, size in steps if size > 1):
        return "a step other than 1"
    last = [axis for axis in zip(op.shape, op.starts, op.sizes, strict=True) if axis[0] > 1][-1:]
    return SliceNode(call, name, inputs, channels=gcd(*last[0]) if last else 1)
