"""ConvTranspose with constant integer weights, channels last: y = requantize(bias + sum of (x - x_zero_point) * w).

Positions differ in how many taps reach them, hence the bias cannot hold the zero point's share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bevel.backends.program import examples
from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, exact_type, stored
from bevel.calib.arithmetic.requantize import Output, fixed_points, requantize


@dataclass(frozen=True)
class ConvTranspose(Op):
    """x: x_dtype [N, H, W, Cin]; w: w_dtype [Cout, kh, kw, Cin / groups]; bias: sum_dtype, multiplier: int32, shift:
    int8 [Cout]; y: output.dtype [N, OH, OW, Cout]. Sums fit sum_dtype, and times the multiplier stay below 2**62.

    ONNX semantics: w is ONNX's [Cin, Cout / groups, kh, kw] with its axes moved and its taps where they were. pads are
    (top, left, bottom, right); output_padding is (rows, columns) added at the bottom and the right.
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
    output_padding: tuple[int, int]
    groups: int
    x_zero_point: int
    output: Output
    x_dtype: str = "int8"
    w_dtype: str = "int8"
    sum_dtype: str = "int32"

    @property
    def spread(self) -> tuple[int, int]:
        """(rows, columns) that the input's taps reach, with output_padding, before the pads are cut off."""
        rows, columns = (
            (size - 1) * stride + (kernel - 1) * dilation + 1 + extra
            for size, stride, kernel, dilation, extra in zip(
                (self.height, self.width), self.strides, self.kernel, self.dilations, self.output_padding, strict=True
            )
        )
        return rows, columns

    @property
    def positions(self) -> tuple[int, int]:
        """(OH, OW)."""
        top, left, bottom, right = self.pads
        return self.spread[0] - top - bottom, self.spread[1] - left - right

    @property
    def macs(self) -> int:
        """Every product of an input with a tap, those that the pads cut off included."""
        per_input = self.kernel[0] * self.kernel[1] * (self.channels_out // self.groups)
        return self.batch * self.height * self.width * self.channels_in * per_input

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.batch, self.height, self.width, self.channels_in), self.x_dtype),
            constant("w", (self.channels_out, *self.kernel, self.channels_in // self.groups), self.w_dtype),
            constant("bias", (self.channels_out,), self.sum_dtype),
            constant("multiplier", (self.channels_out,), "int32"),
            constant("shift", (self.channels_out,), "int8"),
            stored("y", (self.batch, *self.positions, self.channels_out), self.output),
        )

    def reference(self, *arrays: Array) -> Array:
        x, w, bias, multiplier, shift = arrays
        (rows, columns), (top, left) = self.positions, self.pads[:2]
        centred = (x.astype(np.int64) - self.x_zero_point).reshape(-1, self.groups, self.channels_in // self.groups)
        dtype = exact_type(w[0].size, centred, w)
        by_group = centred.transpose(1, 0, 2).astype(dtype)
        image: Array = np.zeros((self.batch, *self.spread, self.channels_out), dtype)
        for i, j in np.ndindex(*self.kernel):
            taps = w[:, i, j].reshape(self.groups, -1, w.shape[3]).transpose(0, 2, 1).astype(dtype)
            product = (by_group @ taps).transpose(1, 0, 2)
            first_row, first_column = i * self.dilations[0], j * self.dilations[1]
            reached = (
                slice(first_row, first_row + (self.height - 1) * self.strides[0] + 1, self.strides[0]),
                slice(first_column, first_column + (self.width - 1) * self.strides[1] + 1, self.strides[1]),
            )
            image[:, reached[0], reached[1]] += product.reshape(self.batch, self.height, self.width, -1)
        total = image[:, top : top + rows, left : left + columns].astype(np.int64) + bias
        return requantize(total, multiplier, shift, self.output)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, w = self.operands()[:2]
        taps = self.channels_in // self.groups * 2
        if self.sum_dtype == "int32":
            numbers = examples.rescaling(rng, (self.channels_out,), taps=taps, output=self.output)
        else:  # of what such sums leave of the product's bits
            ratios = rng.uniform(0.5, 2, self.channels_out) / (taps * 2.0**16)
            numbers = fixed_points(ratios, bits=20)
        return (
            random_values(rng, x.shape, self.x_dtype),
            examples.weights(rng, w.shape) if self.w_dtype == "int8" else random_values(rng, w.shape, self.w_dtype),
            examples.biases(rng, self.channels_out).astype(self.sum_dtype),
            *numbers,
        )


def cases() -> Iterable[ConvTranspose]:
    """Strides above, below and equal to the kernel; taps that meet no input; all that ONNX lets one ask for."""

    def transpose(
        size: tuple[int, ...], channels: tuple[int, int], kernel: tuple[int, int], **changes: Any
    ) -> ConvTranspose:
        batch, height, width = size
        plain: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "output_padding": (0, 0)}
        plain |= {"groups": 1, "x_zero_point": 0, "output": Output(zero_point=-3)}
        return ConvTranspose(batch, height, width, *channels, kernel, **(plain | changes))

    yield transpose((1, 1, 1), (1, 1), (1, 1))
    yield transpose((2, 3, 4), (3, 8), (2, 2), strides=(2, 2), x_zero_point=-128, output=Output(zero_point=-128))
    yield transpose((1, 4, 3), (5, 4), (3, 3), strides=(2, 2), pads=(1, 1, 1, 1), output_padding=(1, 1))
    yield transpose((1, 3, 3), (4, 6), (4, 3), strides=(2, 3), pads=(1, 0, 2, 1), x_zero_point=127)
    yield transpose((1, 3, 4), (2, 3), (2, 2), strides=(3, 4), output_padding=(2, 1), x_zero_point=9)
    yield transpose((1, 4, 4), (4, 6), (3, 2), strides=(2, 1), dilations=(2, 3), groups=2, x_zero_point=-5)
    yield transpose((1, 4, 3), (4, 4), (3, 3), strides=(2, 2), groups=4, pads=(0, 1, 1, 0), output=Output(7, -90, 90))
    yield transpose((1, 1, 9), (3, 5), (1, 4), strides=(1, 2), pads=(0, 1, 0, 1), x_zero_point=1)
    yield transpose((1, 5, 5), (2, 8), (3, 3), strides=(2, 2), x_zero_point=-5, output=Output(-5, even=True))
    int16 = Output(-300, -(2**15), 2**15 - 1, "int16")
    wide: dict[str, Any] = {"x_dtype": "int16", "sum_dtype": "int64", "output": int16}
    yield transpose((2, 3, 4), (3, 8), (2, 2), strides=(2, 2), x_zero_point=-(2**15), **wide)
    yield transpose((1, 4, 3), (4, 6), (3, 3), strides=(2, 1), groups=2, w_dtype="int16", x_zero_point=77, **wide)
    yield transpose((1, 3, 2), (1, 1), (2, 2), x_dtype="int16", x_zero_point=9, output=Output(3, -100, 90))
