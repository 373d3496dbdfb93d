"""Conv with constant int8 weights, channels last: y = requantize(bias + sum over taps of x * w).

Padding holds the input's zero point, which the bias already subtracts, so a tap in the padding adds
x_zero_point * w. Conv of one dimension is height 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bevel.backends.program import examples
from bevel.backends.program.bands import Band, Banding, Laid, Piece, Window, in_windows
from bevel.backends.program.op import Array, Op, Operand, activation, constant, exact_type, stored
from bevel.backends.program.shapes import image_positions
from bevel.calib.arithmetic.requantize import Int64, Output, requantize


@dataclass(frozen=True)
class Conv(Op):
    """x: int8 [N, H, W, Cin]; w: int8 [Cout, kh, kw, Cin / groups]; bias, multiplier: int32 [Cout]; shift: int8 [Cout];
    y: int8 [N, OH, OW, Cout].

    bias already holds b - x_zero_point * sum(w). pads are (top, left, bottom, right). groups is any divisor of both
    channel counts; equal to Cin it is a depthwise convolution, with or without a channel multiplier.
    """

    batch: int
    height: int
    width: int
    channels_in: int
    channels_out: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    groups: int
    x_zero_point: int
    output: Output

    @property
    def positions(self) -> tuple[int, int]:
        """(OH, OW)."""
        return image_positions((self.height, self.width), self.kernel, self.strides, self.dilations, self.pads)

    @property
    def depthwise(self) -> bool:
        """Whether each channel is its own group."""
        return self.channels_in == self.channels_out == self.groups

    @property
    def taps(self) -> int:
        """Products summed for one output element."""
        return self.kernel[0] * self.kernel[1] * (self.channels_in // self.groups)

    @property
    def macs(self) -> int:
        return self.batch * self.positions[0] * self.positions[1] * self.channels_out * self.taps

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.batch, self.height, self.width, self.channels_in)),
            constant("w", (self.channels_out, *self.kernel, self.channels_in // self.groups), "int8"),
            constant("bias", (self.channels_out,), "int32"),
            constant("multiplier", (self.channels_out,), "int32"),
            constant("shift", (self.channels_out,), "int8"),
            stored("y", (self.batch, *self.positions, self.channels_out), self.output),
        )

    def reference(self, *arrays: Array) -> Array:
        x, w, bias, multiplier, shift = arrays
        return requantize(self.sums(x, w) + bias, multiplier, shift, self.output)

    def sums(self, x: Array, w: Array) -> Int64:
        """Every window's products added up, for x and w of any integer type: [N, OH, OW, Cout]. Below 2**63."""
        (rows, columns), groups = self.positions, self.groups
        top, left, bottom, right = self.pads
        margins = ((0, 0), (top, bottom), (left, right), (0, 0))
        padded = np.pad(x, margins, constant_values=self.x_zero_point)
        dtype = exact_type(self.taps, padded, w)
        padded, weights = padded.astype(dtype), w.astype(dtype)
        count = self.batch * rows * columns
        accumulator: Array = np.zeros((groups, count, self.channels_out // groups), dtype)
        for i, j in np.ndindex(*self.kernel):
            down, right_of = i * self.dilations[0], j * self.dilations[1]
            taken = padded[:, down :: self.strides[0], right_of :: self.strides[1]][:, :rows, :columns]
            by_group = taken.reshape(count, groups, -1).transpose(1, 0, 2)
            accumulator += by_group @ weights[:, i, j].reshape(groups, -1, w.shape[3]).transpose(0, 2, 1)
        by_pixel = np.ascontiguousarray(accumulator.transpose(1, 0, 2), np.int64)
        return by_pixel.reshape(self.batch, rows, columns, -1)

    def banding(self, laid: Laid) -> Banding | None:
        window = Window(self.height, (self.kernel[0] - 1) * self.dilations[0] + 1, self.strides[0], self.pads[0])

        def piece(band: Band) -> Piece:
            return Piece(replace(self, height=band.height, pads=band.pads), laid.constants)

        return in_windows(self.batch, window, self.pads, self.positions[0], piece)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, w = (operand.shape for operand in self.operands()[:2])
        return (
            examples.activations(rng, x),
            examples.weights(rng, w),
            examples.biases(rng, self.channels_out),
            *examples.rescaling(rng, (self.channels_out,), taps=self.taps, output=self.output),
        )


def cases() -> Iterable[Conv]:
    """Ordinary, then strided, dilated, unevenly padded, grouped; zero points at both ends."""

    def conv(size: tuple[int, ...], channels: tuple[int, int], kernel: tuple[int, int], **changes: Any) -> Conv:
        batch, height, width = size
        plain: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "groups": 1}
        plain |= {"x_zero_point": 0, "output": Output(zero_point=-3)}
        return Conv(batch, height, width, *channels, kernel, **(plain | changes))

    relu = Output(zero_point=-128)
    yield conv((1, 1, 1), (1, 1), (1, 1))
    yield conv((2, 5, 4), (3, 8), (1, 1), strides=(2, 2), output=relu)
    yield conv((1, 5, 6), (3, 4), (3, 3), pads=(1, 1, 1, 1), x_zero_point=-128, output=relu)
    yield conv((2, 7, 5), (5, 6), (3, 3), strides=(2, 2), pads=(0, 0, 1, 1), x_zero_point=127)
    yield conv((1, 9, 8), (4, 3), (2, 3), dilations=(2, 3), pads=(0, 3, 2, 1), x_zero_point=5)
    yield conv((1, 1, 19), (3, 7), (1, 5), strides=(1, 2), pads=(0, 2, 0, 2), output=Output(7, -9, 100))
    yield conv((1, 4, 4), (6, 9), (3, 3), groups=3, pads=(1, 0, 0, 1), x_zero_point=-1)
    yield conv((2, 6, 5), (8, 8), (3, 3), groups=8, pads=(1, 1, 1, 1), x_zero_point=-128, output=relu)
    yield conv((1, 9, 7), (3, 3), (4, 2), groups=3, strides=(3, 1), dilations=(2, 1), pads=(2, 1, 1, 0))
    yield conv((1, 5, 5), (3, 6), (3, 3), groups=3, strides=(2, 2), pads=(1, 1, 1, 1), x_zero_point=44)
    yield conv((1, 9, 9), (3, 8), (3, 3), pads=(1, 1, 1, 1), x_zero_point=3, output=Output(-3, even=True))
    yield conv((1, 9, 9), (8, 8), (3, 3), groups=8, output=Output(3, -90, 90, even=True))
    for channels in (8, 6):
        power = Output(-3, even=True, power=True)
        yield conv((1, 9, 9), (3, channels), (3, 3), pads=(1, 1, 1, 1), output=power)
