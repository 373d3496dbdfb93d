"""MatMul of two streams: a matrix unit that keeps both, some columns at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from bevel.backends.fpga.node import Folding, LogicNode, divisors
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages.mat_mul import MatMulStage, MatrixAxis, dense
from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.program import Call


@dataclass(frozen=True, eq=False)
class MatMulNode(LogicNode):
    @property
    def op(self) -> MatMul:
        assert isinstance(self.call.kernel, MatMul)
        return self.call.kernel

    @property
    def axes(self) -> tuple[MatrixAxis, ...]:
        op, many = self.op, len(self.op.batch)
        strides = zip(op.a_strides[:many], op.b_strides[:many], op.y_strides[:many], strict=True)
        found = [MatrixAxis(f"batch{place}", op.batch[place], *each) for place, each in enumerate(strides)]
        found.append(MatrixAxis("m", op.m, op.a_strides[-2], 0, op.y_strides[-2]))
        found.append(MatrixAxis("n", op.n, 0, op.b_strides[-1], op.y_strides[-1]))
        found.append(MatrixAxis("k", op.k, op.a_strides[-1], op.b_strides[-2], 0))
        return tuple(found)

    @property
    def reach(self) -> int:
        """What no sum's magnitude passes, as operands lie within their bounds."""
        op = self.op
        zeros = zip(self.inputs, (op.a_zero_point, op.b_zero_point), strict=True)
        return min(op.reach, op.k * prod(max(abs(bound - zero) for bound in bounds) for bounds, zero in zeros))

    def foldings(self) -> Sequence[Folding]:
        """Columns, and how many of their sums are rescaled at once."""
        beside = self.op.y_strides[-1] == 1 or self.op.n == 1
        columns = divisors(self.op.n) if beside else [1]
        return [Folding(many, channels=rescaled) for many in columns for rescaled in divisors(many)]

    def stages(self, folding: Folding) -> Sequence[Stage]:
        op, sums = self.op, (-self.reach, self.reach)
        multiplier, shift = (np.full(folding.channels, one) for one in (op.multiplier, op.shift))
        made = MatMulStage(
            self.name,
            inputs=(self.given(1, 0), self.given(1, 1)),
            output=self.made(folding.channels),
            axes=self.axes,
            columns=folding.outputs,
            zero_points=(op.a_zero_point, op.b_zero_point),
            reach=self.reach,
            rescaling=Requantizer(f"{self.name}_rescale", sums, multiplier, shift, op.output),
            block=self.block,
        )
        return [made]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, MatMul)
    if op.counted or op.packed:
        return "a product of as many terms or columns as come in, or of packed codes"
    if op.shift < 1:
        return "a rescaling without a shift"
    found = MatMulNode(call, name, inputs)
    streams = zip(("a", "b", "y"), (found.given(1, 0), found.given(1, 1), found.made(1)), strict=True)
    if not all(dense(found.axes, operand, stream) for operand, stream in streams):
        return "one of its tensors is read in parts, or several times"
    return found
