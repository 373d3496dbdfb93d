"""ReduceMean of int16 or int32, or to them: as `bevel.backends.tir.kernels.reduce_mean`, in int64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.kernels.wide_add import example_of
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class WideMean(Kernel):
    """x: x_dtype [outer, reduced, inner]; y: output.dtype [outer, inner]: requantize(sum(x) - reduced * x_zero_point).

    The multiplier and the shift hold 1 / reduced too; the sum times the multiplier stays below 2**62.
    """

    outer: int
    reduced: int
    inner: int
    x_zero_point: int
    multiplier: int
    shift: int
    output: Output
    x_dtype: str = "int16"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.outer, self.reduced, self.inner), self.x_dtype),
            output("y", (self.outer, self.inner), self.output.dtype),
        )

    def reference(self, *arrays: Array) -> Array:
        (x,) = arrays
        total = x.sum(axis=1, dtype=np.int64) - self.reduced * self.x_zero_point
        return requantize(total, np.array(self.multiplier), np.array(self.shift), self.output)

    def build(self, name: str) -> Any:
        outer, reduced, inner, output = self.outer, self.reduced, self.inner, self.output
        multiplier, shift, offset = T.int64(self.multiplier), self.shift, -self.reduced * self.x_zero_point
        x_dtype, y_dtype = self.x_dtype, self.output.dtype

        @T.prim_func(s_tir=True)
        def wide_mean(X: T.Buffer((outer, reduced, inner), x_dtype), Y: T.Buffer((outer, inner), y_dtype)):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for i, j in T.grid(outer, inner):
                A = T.alloc_buffer((1,), "int64")
                A[0] = T.int64(offset)
                for r in T.serial(reduced):
                    A[0] = A[0] + T.cast(X[i, r, j], "int64")
                Y[i, j] = tir.store(tir.rounding_shift_right(A[0] * multiplier, shift), output)

        return wide_mean

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (example_of(rng, self.operands()[0]),)


def cases() -> Iterable[WideMean]:
    steps = Output(0, -(448 << 12), 448 << 12, "int32")
    yield WideMean(1, 1, 1, 0, *fixed_point(1.0), Output(0, -(2**15), 2**15 - 1, "int16"))
    yield WideMean(1, 64, 64, 0, *fixed_point(1.1 / 64 * 2**12), steps)
    yield WideMean(3, 49, 5, -300, *fixed_point(2.3 / 49), Output(90, -(2**15), 2**15 - 1, "int16"))
    yield WideMean(2, 3, 6, 0, *fixed_point(2.0**-20 / 3), Output(5, -60, 70), "int32")
    yield WideMean(2, 2, 7, -3, *fixed_point(5.7 / 2 * 2**12), steps, "int8")
