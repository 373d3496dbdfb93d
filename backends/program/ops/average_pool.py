"""AveragePool, channels last: y = requantize(sum over the taps inside the image of x - x_zero_point).

The divisor differs between positions where padding does not count, so that the multiplier and the shift, which carry
it, are given for each position.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Band, Banding, Laid, Piece, Window, in_windows
from bevel.backends.program.examples import example_of, rescaling
from bevel.backends.program.op import Array, Op, Operand, accumulator, activation, constant, stored
from bevel.backends.program.shapes import image_positions
from bevel.calib.arithmetic.requantize import Output, fixed_points, requantize


@dataclass(frozen=True)
class AveragePool(Op):
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
    x_dtype: str = "int8"

    @property
    def sum_dtype(self) -> str:
        return accumulator(self.x_dtype, self.output.dtype)

    @property
    def positions(self) -> tuple[int, int]:
        """(OH, OW)."""
        return image_positions((self.height, self.width), self.kernel, self.strides, (1, 1), self.pads)

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

    def banding(self, laid: Laid) -> Banding | None:
        """Divisors belong to positions, so a band takes its rows of them."""
        window = Window(self.height, self.kernel[0], self.strides[0], self.pads[0])

        def piece(band: Band) -> Piece:
            constants = tuple(array[band.first : band.end].copy() for array in laid.constants)
            return Piece(replace(self, height=band.height, pads=band.pads), constants)

        return in_windows(self.batch, window, self.pads, self.positions[0], piece)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, taps = example_of(rng, self.operands()[0]), self.kernel[0] * self.kernel[1]
        if self.sum_dtype == "int32":
            return x, *rescaling(rng, self.positions, taps, deviation=74)
        return x, *fixed_points(rng.uniform(0.5, 2.0, self.positions) / taps)


def cases() -> Iterable[AveragePool]:
    yield AveragePool(1, 1, 1, 1, (1, 1), (1, 1), (0, 0, 0, 0), 0, Output())
    yield AveragePool(2, 6, 5, 3, (2, 2), (2, 2), (0, 0, 0, 0), -128, Output(zero_point=-128))
    yield AveragePool(1, 7, 8, 16, (3, 3), (2, 2), (1, 1, 1, 1), 127, Output(zero_point=11))
    yield AveragePool(1, 5, 7, 5, (4, 3), (1, 2), (3, 0, 1, 2), -7, Output(4, -40, 60))
    yield AveragePool(1, 8, 8, 10, (8, 8), (1, 1), (0, 0, 0, 0), 3, Output(zero_point=-3))
    int16, steps = Output(0, -(2**15), 2**15 - 1, "int16"), Output(0, -(448 << 12), 448 << 12, "int32")
    yield AveragePool(1, 1, 1, 1, (1, 1), (1, 1), (0, 0, 0, 0), 0, int16, "int16")
    yield AveragePool(2, 6, 5, 3, (2, 2), (2, 2), (0, 0, 0, 0), -128, steps, "int16")
    yield AveragePool(1, 7, 8, 16, (3, 3), (2, 2), (1, 1, 1, 1), 32767, int16, "int16")
    yield AveragePool(1, 5, 7, 5, (4, 3), (1, 2), (3, 0, 1, 2), 0, Output(4, -40, 60), "int32")
    yield AveragePool(1, 4, 4, 2, (4, 4), (1, 1), (0, 0, 0, 0), 3, steps, "int8")
