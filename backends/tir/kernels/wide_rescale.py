"""The same reals on another scale, for int16 and int32 in or out: y = requantize(x - x_zero_point)."""

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
class WideRescale(Kernel):
    """x: x_dtype [size]; y: output.dtype [size]. (x - x_zero_point) * multiplier stays below 2**62."""

    size: int
    x_zero_point: int
    multiplier: int
    shift: int
    output: Output
    x_dtype: str = "int16"

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), self.x_dtype), output("y", (self.size,), self.output.dtype)

    @property
    def in_place(self) -> bool:
        return self.x_dtype == self.output.dtype

    def reference(self, *arrays: Array) -> Array:
        centred = arrays[0].astype(np.int64) - self.x_zero_point
        return requantize(centred, np.array(self.multiplier), np.array(self.shift), self.output)

    def build(self, name: str) -> Any:
        size, x_dtype, y_dtype, output, shift = self.size, self.x_dtype, self.output.dtype, self.output, self.shift
        multiplier, zero_point = T.int64(self.multiplier), T.int64(self.x_zero_point)

        @T.prim_func(s_tir=True)
        def wide_rescale(X: T.Buffer((size,), x_dtype), Y: T.Buffer((size,), y_dtype)):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for i in T.serial(size):
                product = T.meta_var((T.cast(X[i], "int64") - zero_point) * multiplier)
                Y[i] = tir.store(tir.rounding_shift_right(product, shift), output)

        return wide_rescale

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (example_of(rng, self.operands()[0]),)


def cases() -> Iterable[WideRescale]:
    int16, steps = Output(0, -(2**15), 2**15 - 1, "int16"), Output(0, 0, 448 << 12, "int32")
    yield WideRescale(1, 0, *fixed_point(1.0), int16)
    yield WideRescale(300, 32767, *fixed_point(1.3), int16)
    yield WideRescale(300, 0, *fixed_point(2.0**-20), Output(5, -60, 70), "int32")
    yield WideRescale(300, -3, *fixed_point(0.7 * 2**12), steps, "int8")
