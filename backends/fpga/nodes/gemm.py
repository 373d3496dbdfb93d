"""Gemm: a matrix-vector unit, whose rows are windows of one element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.fpga.nest import ProductShape
from bevel.backends.fpga.node import Folding, LogicNode, divisors
from bevel.backends.fpga.products import ProductNode
from bevel.backends.fpga.stage import Stage
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True, eq=False)
class GemmNode(ProductNode):
    @property
    def op(self) -> Gemm:
        assert isinstance(self.call.kernel, Gemm)
        return self.call.kernel

    @property
    def shape(self) -> ProductShape:
        return ProductShape(self.op.rows, (1, 1), self.op.k, self.op.n)

    @property
    def epilogue(self) -> Output:
        return self.op.output

    def foldings(self) -> Sequence[Folding]:
        return [Folding(pe, 1, simd) for pe in divisors(self.op.n) for simd in divisors(self.op.k)]

    def stages(self, folding: Folding) -> Sequence[Stage]:
        return [self.product(self.given(folding.channels), folding)]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    if int(call.constants[3].min()) < 1:
        return "a rescaling without a shift"
    return GemmNode(call, name, inputs)
