"""Mul of two streams, of which one may be repeated, or of one and a constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from bevel.backends.fpga.node import Folding, Held, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages.multiply import MultiplyStage, Repeated, products
from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.program.bands import Shape
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.mul import Mul
from bevel.backends.program.program import Call

HOLDS = True


@dataclass(frozen=True, eq=False)
class MulNode(Passing):
    """whole: the place of the input that is not repeated; the other is, as `repeated` says, or constant. What is
    repeated, or is so often, has `channels` elements."""

    whole: int = field(kw_only=True)
    repeated: Repeated = field(kw_only=True)

    def stages(self, folding: Folding) -> Sequence[Stage]:
        op, whole, lanes = self.call.kernel, self.whole, folding.channels
        assert isinstance(op, Mul)
        zeros = (op.a_zero_point, op.b_zero_point)
        ordered = (zeros[whole], zeros[1 - whole])
        limits = self.inputs[1 - whole]
        held = self.held.get(1 - whole)
        if held is not None:
            held = np.broadcast_to(held.reshape((op.a_shape, op.b_shape)[1 - whole]), op.shape)
            limits = int(held.min()), int(held.max())
        of_place = [1 if place != whole and self.repeated == "each" else lanes for place in self.streamed]
        sums = products(self.inputs[whole], limits, ordered)
        made = MultiplyStage(
            self.name,
            inputs=tuple(self.given(many, place) for place, many in enumerate(of_place)),
            output=self.made(lanes),
            zero_points=ordered,
            limits=limits,
            rescaling=Requantizer(
                f"{self.name}_rescale", sums, np.array([op.multiplier]), np.array([op.shift]), op.output
            ),
            block=self.block,
            length=self.channels,
            repeated=self.repeated,
            held=held,
            first=whole == 0,
        )
        return [made]


def node(call: Call, name: str, inputs: tuple[Bounds, ...], held: Held) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, Mul)
    if op.shift < 1:
        return "a rescaling without a shift"
    shapes = (op.a_shape, op.b_shape)
    whole = next((place for place in (0, 1) if place not in held and shapes[place] == op.shape), None)
    if whole is None:
        return "both of its inputs are repeated, or constant"
    other: Shape = op.shape if 1 - whole in held else shapes[1 - whole]
    found = repetition(op.shape, other)
    if found is None:
        return "one of its inputs is repeated along axes between others"
    repeated, length = found
    return MulNode(call, name, inputs, channels=length, whole=whole, repeated=repeated)


def repetition(shape: Shape, other: Shape) -> tuple[Repeated, int] | None:
    """How a tensor of the shape `other` is repeated to fill `shape`, and the length of that."""
    filled = (1,) * (len(shape) - len(other)) + other
    if filled == shape:
        return "never", shape[-1] if shape else 1
    for axis in range(len(shape) + 1):
        rest = prod(shape[axis:])
        if filled[axis:] == shape[axis:] and prod(filled[:axis]) == 1:
            return "whole", rest
        if filled[:axis] == shape[:axis] and prod(filled[axis:]) == 1:
            return "each", rest
    return None
