"""Where: one of two tensors on different scales, as a truth value says, rescaled with one rounding.

y = store((c ? a * a_multiplier + a_offset : b * b_multiplier + b_offset) >> shift)
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
class Where(Kernel):
    """c: bool c_shape; a: a_dtype a_shape; b: b_dtype b_shape; y: output.dtype shape, to which all broadcast.

    Both sums fit int32 where all of them are int8, else int64.
    """

    shape: tuple[int, ...]
    c_shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_multiplier: int
    b_multiplier: int
    a_offset: int
    b_offset: int
    shift: int
    output: Output
    a_dtype: str = "int8"
    b_dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("c", self.c_shape, "bool"),
            activation("a", self.a_shape, self.a_dtype),
            activation("b", self.b_shape, self.b_dtype),
            output("y", self.shape, self.output.dtype),
        )

    def reference(self, *arrays: Array) -> Array:
        c, a, b = (np.broadcast_to(array, self.shape) for array in arrays)
        first = a.astype(np.int64) * self.a_multiplier + self.a_offset
        second = b.astype(np.int64) * self.b_multiplier + self.b_offset
        return self.output.store(np.where(c, first, second) >> self.shift)

    def build(self, name: str) -> Any:
        sizes = tuple(operand.size for operand in self.operands())
        c_size, a_size, b_size, y_size = sizes
        shapes = (self.c_shape, self.a_shape, self.b_shape, self.shape)
        extents, (c_strides, a_strides, b_strides, y_strides) = broadcast_axes(self.shape, *shapes)
        a_dtype, b_dtype, y_dtype, output = self.a_dtype, self.b_dtype, self.output.dtype, self.output
        sums = "int32" if {a_dtype, b_dtype, y_dtype} == {"int8"} else "int64"
        numbers = (self.a_multiplier, self.b_multiplier, self.a_offset, self.b_offset, self.shift)
        a_multiplier, b_multiplier, a_offset, b_offset, shift = (tirx.const(number, sums) for number in numbers)

        @T.prim_func(s_tir=True)
        def where(
            C: T.Buffer((c_size,), "bool"),
            A: T.Buffer((a_size,), a_dtype),
            B: T.Buffer((b_size,), b_dtype),
            Y: T.Buffer((y_size,), y_dtype),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for axis in T.grid(*extents):
                a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], sums) * a_multiplier + a_offset)
                b = T.meta_var(T.cast(B[offset_of(axis, b_strides)], sums) * b_multiplier + b_offset)
                chosen = T.meta_var(T.Select(C[offset_of(axis, c_strides)], a, b))
                Y[offset_of(axis, y_strides)] = tir.store(chosen >> shift, output)

        return where

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        a, b = random_values(rng, self.a_shape, self.a_dtype), random_values(rng, self.b_shape, self.b_dtype)
        return rng.random(self.c_shape) < 0.5, a, b


def cases() -> Iterable[Where]:
    int16 = Output(3, -(2**15), 2**15 - 1, "int16")
    yield Where((2, 5, 3), (5, 3), (2, 5, 3), (), 700_001, 523_456, 2**19, 128 * 523_456, 20, Output(-7))
    yield Where((3, 4), (3, 1), (3, 4), (3, 4), 3, 2, 9, 1, 1, Output(3, -50, 60))
    yield Where((3, 4), (3, 4), (3, 4), (4,), 2**30, 2**29, 2**45, 77, 30, int16, "int16", "int16")
