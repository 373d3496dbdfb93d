"""Add and Sub of two streams of one shape, or of one and a constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.fpga.node import Folding, Held, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages.two import Two
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.add import Add
from bevel.backends.program.program import Call

HOLDS = True


@dataclass(frozen=True, eq=False)
class AddNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        op = self.call.kernel
        assert isinstance(op, Add)
        lanes, made = folding.channels, self.made(folding.channels)
        if not self.held:
            return [Two(self.name, inputs=(self.given(lanes, 0), self.given(lanes, 1)), output=made, add=op)]
        ((place, codes),) = self.held.items()
        if place == 0:
            op = replace(op, a_multiplier=op.b_multiplier, b_multiplier=op.a_multiplier)
        shape = (op.a_shape, op.b_shape)[place]
        whole = np.broadcast_to(codes.reshape(shape), op.shape)
        return [Two(self.name, inputs=(self.given(lanes),), output=made, add=op, held=whole)]


def node(call: Call, name: str, inputs: tuple[Bounds, ...], held: Held) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, Add)
    if any(shape != op.shape for place, shape in enumerate((op.a_shape, op.b_shape)) if place not in held):
        return "one of its inputs is repeated along an axis"
    return AddNode(call, name, inputs, channels=op.shape[-1] if op.shape else 1)
