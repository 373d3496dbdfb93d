"""ReduceL2 over neighbouring axes: an integer root of the sum of squares (`bevel.calib.arithmetic.normalize.root`),
rescaled.

y = store((r * multiplier + half) >> (shift + s)),    sqrt(sum((x - x_zero_point)**2)) ~ r / 2**s
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
from bevel.backends.tir.roots import root_of
from bevel.calib.arithmetic.normalize import root
from bevel.calib.arithmetic.requantize import MAX_SHIFT, Output, fixed_point, rounding_shift_right


@dataclass(frozen=True)
class ReduceL2(Kernel):
    """x: x_dtype [outer, reduced, inner]; y: output.dtype [outer, inner]. The sum of squares stays below 2**60.

    A shift beyond 62 is one by 62: both round everything to 0.
    """

    outer: int
    reduced: int
    inner: int
    x_zero_point: int
    multiplier: int
    shift: int
    output: Output
    x_dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        x = activation("x", (self.outer, self.reduced, self.inner), self.x_dtype)
        return x, output("y", (self.outer, self.inner), self.output.dtype)

    def reference(self, *arrays: Array) -> Array:
        steps = arrays[0].astype(np.int64) - self.x_zero_point
        r, s = root((steps * steps).sum(axis=1))
        return self.output.store(rounding_shift_right(r * self.multiplier, np.minimum(self.shift + s, MAX_SHIFT)))

    def build(self, name: str) -> Any:
        outer, reduced, inner, x_dtype, y_dtype = self.outer, self.reduced, self.inner, self.x_dtype, self.output.dtype
        zero_point, multiplier, shift, output = self.x_zero_point, T.int64(self.multiplier), self.shift, self.output
        take_root = root_of()

        @T.prim_func(s_tir=True)
        def reduce_l2(X: T.Buffer((outer, reduced, inner), x_dtype), Y: T.Buffer((outer, inner), y_dtype)):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            S = T.sblock_alloc_buffer((3,), "int32")  # step, shift of what is under the root, root
            V = T.sblock_alloc_buffer((1,), "int64")  # the sum under the root
            for i, j in T.grid(outer, inner):
                V[0] = T.int64(0)
                for r in T.serial(reduced):
                    S[0] = T.cast(X[i, r, j], "int32") - zero_point
                    V[0] = V[0] + T.cast(S[0], "int64") * T.cast(S[0], "int64")
                take_root(V, S)
                scaled = T.meta_var(T.cast(S[2], "int64") * multiplier)
                Y[i, j] = tir.store(tir.rounding_shift_right(scaled, T.min(S[1] + shift, MAX_SHIFT)), output)

        return reduce_l2

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, self.operands()[0].shape, self.x_dtype)
        x[-1, :, 0] = self.x_zero_point
        return (x,)


def cases() -> Iterable[ReduceL2]:
    yield ReduceL2(1, 1, 1, 0, *fixed_point(1.0), Output())
    yield ReduceL2(3, 10, 1, -7, *fixed_point(0.11), Output(-128))
    yield ReduceL2(2, 9, 5, 127, *fixed_point(2.0**-30), Output(5, -60, 70))
    yield ReduceL2(2, 33, 5, 3, *fixed_point(0.2), Output(-(2**15), -(2**15), 2**15 - 1, "int16"), "int16")
