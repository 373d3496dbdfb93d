"""AveragePool of int16 or int32, or to them: as `bevel.backends.program.ops.average_pool`, in int64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import example_of
from bevel.backends.program.op import Array, Op, Operand, activation, constant, stored
from bevel.backends.program.shapes import window_positions
from bevel.calib.arithmetic.requantize import Output, fixed_points, requantize


@dataclass(frozen=True)
class WideAveragePool(Op):
    """x: x_dtype [N, H, W, C]; multiplier: int32 [OH, OW]; shift: int8 [OH, OW]; y: output.dtype [N, OH, OW, C].

    pads are (top, left, bottom, right) and hold the real number 0, whether or not the divisor counts them. Sums times
    multipliers stay below 2**62.
    """

    batch: int
    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    x_zero_point: int
    output: Output
    x_dtype: str = "int16"

    @property
    def positions(self) -> tuple[int, int]:
        """(OH, OW)."""
        top, left, bottom, right = self.pads
        return (
            window_positions(self.height, self.kernel[0], self.strides[0], 1, top, bottom),
            window_positions(self.width, self.kernel[1], self.strides[1], 1, left, right),
        )

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.batch, self.height, self.width, self.channels), self.x_dtype),
            constant("multiplier", self.positions, "int32"),
            constant("shift", self.positions, "int8"),
            stored("y", (self.batch, *self.positions, self.channels), self.output),
        )

    def reference(self, *arrays: Array) -> Array:
        x, multiplier, shift = arrays
        top, left, bottom, right = self.pads
        centred = np.pad(x.astype(np.int64) - self.x_zero_point, ((0, 0), (top, bottom), (left, right), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(centred, self.kernel, (1, 2))
        total = windows[:, :: self.strides[0], :: self.strides[1]].sum((-2, -1))
        return requantize(total, multiplier[..., np.newaxis], shift[..., np.newaxis], self.output)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        ratios = rng.uniform(0.5, 2.0, self.positions) / (self.kernel[0] * self.kernel[1])
        return example_of(rng, self.operands()[0]), *fixed_points(ratios)


def cases() -> Iterable[WideAveragePool]:
    int16, steps = Output(0, -(2**15), 2**15 - 1, "int16"), Output(0, -(448 << 12), 448 << 12, "int32")
    yield WideAveragePool(1, 1, 1, 1, (1, 1), (1, 1), (0, 0, 0, 0), 0, int16)
    yield WideAveragePool(2, 6, 5, 3, (2, 2), (2, 2), (0, 0, 0, 0), -128, steps)
    yield WideAveragePool(1, 7, 8, 16, (3, 3), (2, 2), (1, 1, 1, 1), 32767, int16)
    yield WideAveragePool(1, 5, 7, 5, (4, 3), (1, 2), (3, 0, 1, 2), 0, Output(4, -40, 60), "int32")
    yield WideAveragePool(1, 4, 4, 2, (4, 4), (1, 1), (0, 0, 0, 0), 3, steps, "int8")
