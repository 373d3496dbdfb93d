"""Gemm: a matrix-vector unit, whose rows are windows of one element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.fpga.nest import ProductShape, Unrolled
from bevel.backends.fpga.node import Folding, LogicNode, divisors
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages.product import ProductConstants, ProductStage, divided
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call


@dataclass(frozen=True, eq=False)
class GemmNode(LogicNode):
    @property
    def op(self) -> Gemm:
        assert isinstance(self.call.kernel, Gemm)
        return self.call.kernel

    @property
    def multiplies(self) -> bool:
        return True

    def foldings(self) -> Sequence[Folding]:
        return [Folding(pe, 1, simd) for pe in divisors(self.op.n) for simd in divisors(self.op.k)]

    def stages(self, folding: Folding) -> Sequence[Stage]:
        op = self.op
        weights, bias, multiplier, shift = self.call.constants
        product = ProductStage(
            self.name,
            inputs=(self.given(folding.channels),),
            output=self.made(divided(folding.outputs, op.k // folding.channels)),
            shape=ProductShape(op.rows, (1, 1), op.k, op.n),
            factors=Unrolled(folding.outputs, 1, folding.channels),
            constants=ProductConstants(weights, bias, multiplier, shift),
            multiplier=folding.multiplier,
            epilogue=op.output,
        )
        return [product]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    if int(call.constants[3].min()) < 1:
        return "a rescaling without a shift"
    return GemmNode(call, name, inputs)
