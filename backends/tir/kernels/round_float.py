"""Integers with bits behind the point to the steps of a minifloat (`bevel.calib.arithmetic.round_float`), in int32.

What is cut off grows by one bit wherever the magnitude passes a power of two, so its length is a sum of comparisons.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.calib.arithmetic.round_float import FloatSteps, float_steps
from bevel.calib.formats.float_format import E3M2, E4M3, FloatFormat


@dataclass(frozen=True)
class RoundFloat(Kernel):
    """x: x_dtype [size], steps times 2**fraction, but not -2**31; y: dtype [size], steps.

    fraction is 1 or more, and high * 2**(fraction + 1) fits int32.
    """

    size: int
    mantissa: int
    high: int
    fraction: int
    dtype: str = "int16"
    x_dtype: str = "int32"

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), self.x_dtype), output("y", (self.size,), self.dtype)

    @property
    def in_place(self) -> bool:
        return True

    @property
    def steps(self) -> FloatSteps:
        return FloatSteps(self.mantissa, self.high)

    def reference(self, *arrays: Array) -> Array:
        return self.steps.round_fine(arrays[0], self.fraction).astype(self.dtype)

    def build(self, name: str) -> Any:
        size, dtype, x_dtype, fraction = self.size, self.dtype, self.x_dtype, self.fraction
        limit = self.high << self.fraction
        borders = [1 << (fraction + self.mantissa + step) for step in range(1, self.steps.exponents)]

        def cut(magnitude: Any) -> Any:
            return reduce(add, [T.cast(magnitude >= border, "int32") for border in borders], T.int32(0))

        @T.prim_func(s_tir=True)
        def round_float(X: T.Buffer((size,), x_dtype), Y: T.Buffer((size,), dtype)):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for i in T.serial(size):
                M = T.alloc_buffer((4,), "int32")  # the sign, the magnitude, what distance it has, and it rounded
                M[0] = T.cast(X[i], "int32") >> 31
                M[1] = T.min((T.cast(X[i], "int32") ^ M[0]) - M[0], limit)
                M[2] = cut(M[1]) & 31
                half = T.meta_var(T.int32(1) << (M[2] + (fraction - 1)))
                odd = T.meta_var((M[1] >> (M[2] + fraction)) & 1)
                M[3] = ((M[1] + (half - 1) + odd) >> (M[2] + fraction)) << M[2]
                Y[i] = T.cast((M[3] ^ M[0]) - M[0], dtype)

        return round_float

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Every value, its ties with the next, their neighbours, and noise."""
        limit = self.high << self.fraction
        values = [float(value) for value in range(2 ** (self.mantissa + 1))]
        while values[-1] < self.high:
            values.append(values[-1] + 2.0 ** (int(values[-1]).bit_length() - 1 - self.mantissa))
        exact = np.array(values) * 2**self.fraction
        ties = (exact[1:] + exact[:-1]) / 2
        special = np.concatenate([ties, ties - 1, ties + 1, exact, [limit]]).astype(np.int64)
        noise = rng.integers(-limit, limit + 1, self.size)
        largest = int(np.iinfo(self.x_dtype).max)
        found = np.concatenate([special, -special, noise, [largest, -largest]])[-self.size :]
        return (np.clip(found, -largest, largest).astype(self.x_dtype),)


def cases() -> Iterable[RoundFloat]:
    def case(format: FloatFormat, size: int, fraction: int | None = None, dtype: str = "int16") -> RoundFloat:
        steps = float_steps(format)
        if steps is None:
            raise ValueError(f"{format.name} has no wide steps")
        bits = steps.fraction if fraction is None else fraction
        return RoundFloat(size, steps.mantissa, steps.high, bits, dtype, steps.fine_dtype)

    yield case(E3M2, 1)
    yield case(E3M2, 900)
    yield case(E3M2, 500, fraction=1)
    yield case(E4M3, 3000, dtype="int32")
    yield case(FloatFormat(3, 4), 3000)
    yield case(FloatFormat(2, 0), 60)
