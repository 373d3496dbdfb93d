"""Resize by linear interpolation along both axes, with fixed-point weights:

    y[n, i, j, c] = store(rounding_shift_right(sum over a, b of
        x[n, rows[i, a], columns[j, b], c] * row_weights[i, a] * column_weights[j, b], 2 * bits))

The two weights of a row, and those of a column, sum to 2**bits, so zero point and scale pass through unchanged. Where
the result has a scale of its own, or lies on halves that go to the even integer, the sums are multiplied before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, constant, output
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.kernels.copy import random_values
from bevel.calib.arithmetic.requantize import Output, even_shift_right, fixed_point, rounding_shift_right

# Of a weight: 2**7 * 2**(2 * 11) leaves an int32 room for the rounding constant. int16 is summed in int64.
MAX_BITS = {"int8": 11, "int16": 15}


@dataclass(frozen=True)
class Rescaling:
    """int8 sums, less the zero point's, times `multiplier`, shifted right; within `tolerance` of a half, to even."""

    x_zero_point: int
    multiplier: int
    shift: int
    tolerance: int


@dataclass(frozen=True)
class ResizeBilinear(Kernel):
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
    rescaling: Rescaling | None = None

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
            output("y", (self.batch, self.out_height, self.out_width, self.channels), self.output.dtype),
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

    def result(self, accumulator: Any) -> Any:
        """The TIR of what is stored."""
        shift = 2 * self.bits
        if self.rescaling is None:
            half = T.IntImm(self.sum_type, 1 << (shift - 1))
            # That of int8 is below 2**29, so that its rounding needs no int64.
            return tir.store((accumulator + half) >> T.cast(T.int32(shift), self.sum_type), self.output)
        centred = T.cast(accumulator - T.int32(self.rescaling.x_zero_point << shift), "int64")
        product = centred * T.int64(self.rescaling.multiplier)
        rounded = tir.even_within(product, self.rescaling.shift, self.rescaling.tolerance)
        return tir.store(rounded, self.output)

    def build(self, name: str) -> Any:
        batch, out_height, out_width, channels = self.batch, self.out_height, self.out_width, self.channels
        dtype, sum_type, result = self.output.dtype, self.sum_type, self.result

        @T.prim_func(s_tir=True)
        def resize_bilinear(
            X: T.Buffer((batch, self.height, self.width, channels), dtype),
            R: T.Buffer((out_height, 2), "int32"),
            RW: T.Buffer((out_height, 2), "int32"),
            C: T.Buffer((out_width, 2), "int32"),
            CW: T.Buffer((out_width, 2), "int32"),
            Y: T.Buffer((batch, out_height, out_width, channels), dtype),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            W = T.sblock_alloc_buffer((4,), "int32")  # the weights of a pixel's four taps, shared by its channels
            A = T.sblock_alloc_buffer((1,), sum_type)
            for n, i, j in T.grid(batch, out_height, out_width):
                W[0] = RW[i, 0] * CW[j, 0]
                W[1] = RW[i, 0] * CW[j, 1]
                W[2] = RW[i, 1] * CW[j, 0]
                W[3] = RW[i, 1] * CW[j, 1]
                for c in T.serial(channels):
                    A[0] = T.cast(X[n, R[i, 0], C[j, 0], c], sum_type) * T.cast(W[0], sum_type)
                    A[0] = A[0] + T.cast(X[n, R[i, 0], C[j, 1], c], sum_type) * T.cast(W[1], sum_type)
                    A[0] = A[0] + T.cast(X[n, R[i, 1], C[j, 0], c], sum_type) * T.cast(W[2], sum_type)
                    A[0] = A[0] + T.cast(X[n, R[i, 1], C[j, 1], c], sum_type) * T.cast(W[3], sum_type)
                    Y[n, i, j, c] = result(A[0])

        return resize_bilinear

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
        rescaling = Rescaling(-7, *fixed_point(ratio / 2**4), tolerance)
        size = {"height": 5, "width": 6, "out_height": 9, "out_width": 12}
        yield ResizeBilinear(batch=1, **size, channels=3, bits=2, output=Output(3, -90, 90), rescaling=rescaling)
    int16 = Output(0, -(2**15), 2**15 - 1, "int16")
    yield ResizeBilinear(batch=1, height=4, width=3, channels=6, out_height=7, out_width=6, bits=15, output=int16)
