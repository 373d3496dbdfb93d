"""PRelu: y = store(((x - x_zero_point) * m + 2**(shift - 1)) >> shift), m one number where x is positive, else a slope.

Both hold the change of scale. Of int8, |x - x_zero_point| * m stays below 2**30, so that no wide product is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.kernels.copy import random_values
from bevel.backends.tir.loops import broadcast_axes, offset_of
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class PRelu(Kernel):
    """x: x_dtype a_shape; slope: int32 b_shape; y: output.dtype shape, to which both broadcast as in numpy."""

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    x_zero_point: int
    positive: int
    shift: int
    output: Output
    x_dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", self.a_shape, self.x_dtype),
            activation("slope", self.b_shape, "int32"),
            output("y", self.shape, self.output.dtype),
        )

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape and self.x_dtype == self.output.dtype

    def reference(self, *arrays: Array) -> Array:
        x, slope = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays)
        steps = x - self.x_zero_point
        half = (1 << self.shift) >> 1
        return self.output.store((steps * np.where(steps >= 0, self.positive, slope) + half) >> self.shift)

    def build(self, name: str) -> Any:
        sizes = tuple(operand.size for operand in self.operands())
        x_size, slope_size, y_size = sizes
        extents, (x_strides, s_strides, y_strides) = broadcast_axes(self.shape, self.a_shape, self.b_shape, self.shape)
        output, x_dtype, y_dtype, sums = (
            self.output,
            self.x_dtype,
            self.output.dtype,
            accumulator(self.x_dtype, self.output),
        )
        zero_point, positive, shift, half = (
            tirx.const(value, sums) for value in (self.x_zero_point, self.positive, self.shift, (1 << self.shift) >> 1)
        )

        @T.prim_func(s_tir=True)
        def prelu(
            X: T.Buffer((x_size,), x_dtype), S: T.Buffer((slope_size,), "int32"), Y: T.Buffer((y_size,), y_dtype)
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for axis in T.grid(*extents):
                steps = T.meta_var(T.cast(X[offset_of(axis, x_strides)], sums) - zero_point)
                factor = T.meta_var(T.Select(steps >= 0, positive, T.cast(S[offset_of(axis, s_strides)], sums)))
                Y[offset_of(axis, y_strides)] = tir.store((steps * factor + half) >> shift, output)

        return prelu

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        limit = 2**30 // 256
        slope = rng.integers(-limit, limit, self.b_shape, dtype=np.int32)
        return random_values(rng, self.a_shape, self.x_dtype), slope


def accumulator(dtype: str, output: Output) -> str:
    """The type that sums are made in: int32 of int8 to int8, int64 of wider integers."""
    return "int32" if {dtype, output.dtype} == {"int8"} else "int64"


def cases() -> Iterable[PRelu]:
    yield PRelu((1,), (1,), (1,), 0, 2**20, 20, Output())
    yield PRelu((2, 5, 3, 7), (2, 5, 3, 7), (7,), -128, 3_000_000, 22, Output(zero_point=-128))
    yield PRelu((2, 3, 4, 5), (2, 3, 4, 5), (3, 1, 1), 127, 700_001, 19, Output(5, -60, 70))
    yield PRelu((2, 3, 4), (2, 3, 4), (2, 3, 4), -3, 1, 0, Output(3, -50, 60))
    yield PRelu((2, 3, 4), (2, 3, 4), (4,), -3, 2**29, 30, Output(7, -(2**15), 2**15 - 1, "int16"), "int16")
    yield PRelu((5, 4), (5, 4), (4,), 0, 2**29, 21, Output(5, -60, 70), "int16")
