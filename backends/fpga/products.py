"""Nodes that sum products by constant weights: what their foldings have in common is found once."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

from bevel.backends.fpga.nest import ProductShape, Unrolled
from bevel.backends.fpga.node import Folding, LogicNode
from bevel.backends.fpga.stage import BeatStream
from bevel.backends.fpga.stages.constants import ProductConstants
from bevel.backends.fpga.stages.product import ProductStage, divided
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True, eq=False)
class ProductNode(LogicNode):
    """A matrix-vector unit, and perhaps windows before it."""

    @property
    @abstractmethod
    def shape(self) -> ProductShape: ...

    @property
    @abstractmethod
    def epilogue(self) -> Output: ...

    @property
    def multiplies(self) -> bool:
        return True

    @cached_property
    def constants(self) -> ProductConstants:
        weights, bias, multiplier, shift = self.call.constants
        return ProductConstants(self.name, weights, bias, multiplier, shift, self.inputs[0], self.epilogue)

    def product(self, x: BeatStream, folding: Folding) -> ProductStage:
        shape = self.shape
        across = folding.rows * (1 if shape.depthwise else folding.channels)
        return ProductStage(
            self.name,
            inputs=(x,),
            output=self.made(divided(folding.outputs, shape.taps // across)),
            shape=shape,
            factors=Unrolled(folding.outputs, folding.rows, folding.channels),
            constants=self.constants,
            multiplier=folding.multiplier,
            block=self.block,
        )
