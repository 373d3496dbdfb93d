"""Resize by linear interpolation along both axes, with fixed-point weights:

    y[n, i, j, c] = store(rounding_shift_right(sum over a, b of
        x[n, rows[i, a], columns[j, b], c] * row_weights[i, a] * column_weights[j, b], 2 * bits))

The two weights of a row, and those of a column, sum to 2**bits, so zero point and scale pass through unchanged. Where
the result has a scale of its own, or lies on halves that go to the even integer, the sums are multiplied before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, stored
from bevel.calib.arithmetic.requantize import Output, even_shift_right, fixed_point, rounding_shift_right

# Of a weight: 2**7 * 2**(2 * 11) leaves an int32 room for the rounding constant. int16 is summed in int64.
MAX_BITS = {"int8": 11, "int16": 15}


@dataclass(frozen=True)
class EvenRescaling:
    """int8 sums, less the zero point's, times `multiplier`, shifted right; within `tolerance` of a half, to even."""

    x_zero_point: int
    multiplier: int
    shift: int
    tolerance: int


@dataclass(frozen=True)
class ResizeBilinear(Op):
    """x: output.dtype [batch, height, width, channels]; y: the same type [batch, out_height, out_width, channels].

    rows, row_weights: int32 [out_height, 2]; columns, column_weights: int32 [out_width, 2]; weights in steps of
    2**-bits, not negative.
    """

    batch: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    bits: int
    output: Output
    rescaling: EvenRescaling | None = None

    def __post_init__(self) -> None:
        most = MAX_BITS[self.output.dtype]
        if not 0 < self.bits <= most:
            raise ValueError(f"weights of {self.bits} bits: {self.sum_type} accumulators hold 1 to {most}")

    @property
    def sum_type(self) -> str:
        return "int32" if self.output.dtype == "int8" else "int64"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.batch, self.height, self.width, self.channels), self.output.dtype),
            constant("rows", (self.out_height, 2), "int32"),
            constant("row_weights", (self.out_height, 2), "int32"),
            constant("columns", (self.out_width, 2), "int32"),
            constant("column_weights", (self.out_width, 2), "int32"),
            stored("y", (self.batch, self.out_height, self.out_width, self.channels), self.output),
        )

    def reference(self, *arrays: Array) -> Array:
        x, rows, row_weights, columns, column_weights = arrays
        accumulator = np.zeros((self.batch, self.out_height, self.out_width, self.channels), self.sum_type)
        for a in range(2):
            for b in range(2):
                weights = row_weights[:, a, None, None] * column_weights[:, b, None]
                accumulator += x.astype(self.sum_type).take(rows[:, a], axis=1).take(columns[:, b], axis=2) * weights
        if self.rescaling is None:
            return self.output.store(rounding_shift_right(accumulator, 2 * self.bits))
        centred = accumulator.astype(np.int64) - (self.rescaling.x_zero_point << 2 * self.bits)
        product = centred * self.rescaling.multiplier
        return self.output.store(even_shift_right(product, self.rescaling.shift, self.rescaling.tolerance))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, (self.batch, self.height, self.width, self.channels), self.output.dtype)
        rows, row_weights = self.example_axis(rng, self.height, self.out_height)
        columns, column_weights = self.example_axis(rng, self.width, self.out_width)
        return x, rows, row_weights, columns, column_weights

    def example_axis(self, rng: np.random.Generator, length: int, out_length: int) -> tuple[Array, Array]:
        sources = rng.integers(0, length, (out_length, 2), dtype=np.int32)
        first = rng.integers(0, 2**self.bits, out_length, dtype=np.int32, endpoint=True)
        sources[0], first[-1] = length - 1, 2**self.bits
        return sources, np.stack([first, 2**self.bits - first], axis=1)


def cases() -> Iterable[ResizeBilinear]:
    yield ResizeBilinear(batch=1, height=1, width=1, channels=1, out_height=1, out_width=1, bits=11, output=Output())
    yield ResizeBilinear(batch=2, height=3, width=5, channels=3, out_height=6, out_width=11, bits=11, output=Output())
    yield ResizeBilinear(batch=1, height=7, width=6, channels=1, out_height=3, out_width=4, bits=1, output=Output())
    yield ResizeBilinear(
        batch=1, height=2, width=4, channels=17, out_height=5, out_width=3, bits=7, output=Output(0, low=-5, high=90)
    )
    for ratio, tolerance in ((1.0, 0), (0.5, 0), (1 / 3, 255 << 4)):
        rescaling = EvenRescaling(-7, *fixed_point(ratio / 2**4), tolerance)
        size = {"height": 5, "width": 6, "out_height": 9, "out_width": 12}
        yield ResizeBilinear(batch=1, **size, channels=3, bits=2, output=Output(3, -90, 90), rescaling=rescaling)
    int16 = Output(0, -(2**15), 2**15 - 1, "int16")
    yield ResizeBilinear(batch=1, height=4, width=3, channels=6, out_height=7, out_width=6, bits=15, output=int16)
