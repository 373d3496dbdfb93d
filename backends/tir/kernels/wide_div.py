"""Div of two tensors of which one, or the result, is wider than int8: a division of integers, rounded half away from 0.

y = store(+-(2 * |a - a_zero_point| * multiplier + d) // (2 * d)),    d = |b - b_zero_point| << shift, b's zero as 1
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.kernels.copy import random_values
from bevel.backends.tir.loops import broadcast_axes, offset_of
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class WideDiv(Kernel):
    """a: a_dtype a_shape; b: b_dtype b_shape; y: output.dtype shape, to which both broadcast as in numpy.

    2 * |a - a_zero_point| * multiplier + d and 2 * d stay below 2**63.
    """

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_zero_point: int
    b_zero_point: int
    multiplier: int
    shift: int
    output: Output
    a_dtype: str = "int16"
    b_dtype: str = "int16"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("a", self.a_shape, self.a_dtype),
            activation("b", self.b_shape, self.b_dtype),
            output("y", self.shape, self.output.dtype),
        )

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape and self.a_dtype == self.output.dtype

    def reference(self, *arrays: Array) -> Array:
        a, b = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays)
        a_steps, b_steps = a - self.a_zero_point, b - self.b_zero_point
        divisor = np.where(b_steps == 0, 1, np.abs(b_steps)) << self.shift
        quotient = (2 * np.abs(a_steps) * self.multiplier + divisor) // (2 * divisor)
        return self.output.store(np.where((a_steps < 0) != (b_steps < 0), -quotient, quotient))

    def build(self, name: str) -> Any:
        sizes = tuple(operand.size for operand in self.operands())
        a_size, b_size, y_size = sizes
        extents, (a_strides, b_strides, y_strides) = broadcast_axes(self.shape, self.a_shape, self.b_shape, self.shape)
        a_zero_point, b_zero_point = T.int64(self.a_zero_point), T.int64(self.b_zero_point)
        zero, two, multiplier, shift = T.int64(0), T.int64(2), T.int64(self.multiplier), T.int64(self.shift)
        a_dtype, b_dtype, y_dtype, output = self.a_dtype, self.b_dtype, self.output.dtype, self.output

        @T.prim_func(s_tir=True)
        def wide_div(A: T.Buffer((a_size,), a_dtype), B: T.Buffer((b_size,), b_dtype), Y: T.Buffer((y_size,), y_dtype)):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            S = T.sblock_alloc_buffer((2,), "int64")  # dividend, divisor
            Q = T.sblock_alloc_buffer((1,), "int64")
            for axis in T.grid(*extents):
                S[0] = T.cast(A[offset_of(axis, a_strides)], "int64") - a_zero_point
                S[1] = T.cast(B[offset_of(axis, b_strides)], "int64") - b_zero_point
                size = T.meta_var(T.max(T.max(S[1], zero - S[1]), T.int64(1)) << shift)
                largest = T.meta_var(T.max(S[0], zero - S[0]) * multiplier)
                Q[0] = T.truncdiv(largest * two + size, size * two)
                negative = T.meta_var((S[0] ^ S[1]) < zero)
                Y[offset_of(axis, y_strides)] = tir.store(T.Select(negative, zero - Q[0], Q[0]), output)

        return wide_div

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return random_values(rng, self.a_shape, self.a_dtype), random_values(rng, self.b_shape, self.b_dtype)


def cases() -> Iterable[WideDiv]:
    int16 = Output(3, -(2**15), 2**15 - 1, "int16")
    yield WideDiv((1,), (1,), (1,), 0, 0, 2**30, 30, int16)
    yield WideDiv((3, 50), (3, 50), (50,), -7, 5, 2**30 + 12345, 16, int16)
    yield WideDiv((3, 50), (3, 1), (50,), 9, -128, 2**30 + 12345, 22, Output(5, -60, 70), "int16", "int8")
    yield WideDiv((9, 9), (9, 1), (9,), 0, 0, 2**30, 43, int16, "int8", "int16")
