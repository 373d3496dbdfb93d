"""What a product is made of that is the same however it is folded: weights, their spelling, and what sums lie in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.fpga.stages.thresholds import Thresholds
from bevel.backends.fpga.stages.weights import Coding, coding
from bevel.backends.program.op import Array, Bounds
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True, eq=False)
class ProductConstants:
    """weights: int [Cout, kh, kw, Cin], without the last axis where depthwise; bias, multiplier, shift: [Cout]. x: what
    they are multiplied by."""

    name: str
    weights: Array
    bias: Array
    multiplier: Array
    shift: Array
    x: Bounds
    epilogue: Output

    @cached_property
    def by_blocks(self) -> Coding:
        return coding(self.weights, False)

    @cached_property
    def by_tables(self) -> Coding:
        return coding(self.weights, True)

    @cached_property
    def limits(self) -> Bounds:
        """Of weights."""
        return int(self.weights.min()), int(self.weights.max())

    @cached_property
    def extremes(self) -> tuple[Array, Array]:
        """The least and the largest sum of each channel; of a part of its products, if that is further from 0."""
        flat = self.weights.reshape(len(self.bias), -1).astype(np.int64)
        one, other = (flat * bound for bound in self.x)
        return np.minimum(np.minimum(one, other), 0).sum(1), np.maximum(np.maximum(one, other), 0).sum(1)

    @cached_property
    def accumulator(self) -> Bounds:
        """What a sum of any of a channel's products lies in, without the bias."""
        low, high = self.extremes
        return int(low.min(initial=0)), int(high.max(initial=0))

    @cached_property
    def requantizer(self) -> Requantizer:
        (low, high), bias = self.extremes, self.bias.astype(np.int64)
        sums = min(int((low + bias).min()), 0), max(int((high + bias).max()), 0)
        return Requantizer(f"{self.name}_rescale", sums, self.multiplier, self.shift, self.epilogue)

    @cached_property
    def thresholds(self) -> Thresholds | None:
        """In place of rescalings, where results have few values."""
        return Thresholds.of(f"{self.name}_threshold", self.accumulator, self.bias, self.requantizer)
