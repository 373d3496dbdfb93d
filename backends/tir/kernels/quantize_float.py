"""From float32 to the steps of a minifloat: y = round(clamp(x / scale, -high, high)), ties to even.

A float32 above 2**23 * d is a multiple of d, so adding 2**23 * d to a smaller number rounds it to one, ties to even.
The distance d of neighbouring steps doubles with every power of two. No product comes before a sum, so that no compiler
can contract the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir.kernels.quantize import MANTISSA_SPLIT, assembled, check_scale, float_parts
from bevel.calib.arithmetic.round_float import FloatSteps

ROUNDER = 2.0**23


@dataclass(frozen=True)
class QuantizeFloat(Kernel):
    """x: float32 [size]; y: dtype [size], steps of a minifloat. scale, a float32 value, is the size of a step."""

    size: int
    scale: float
    mantissa: int
    high: int
    dtype: str = "int16"

    def __post_init__(self) -> None:
        check_scale(self.scale)

    @property
    def steps(self) -> FloatSteps:
        return FloatSteps(self.mantissa, self.high)

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), "float32"), output("y", (self.size,), self.dtype)

    def reference(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            quotient = (arrays[0] / np.float32(self.scale)).astype(np.float32)
            return self.steps.round_float(quotient).astype(self.dtype)

    def build(self, name: str) -> Any:
        size, dtype, high = self.size, self.dtype, float(self.high)
        mantissa, factors = float_parts(self.scale)
        first, borders = 2.0 ** (self.mantissa + 1), self.steps.exponents - 1

        @T.prim_func(s_tir=True)
        def quantize_float(X: T.Buffer((size,), "float32"), Y: T.Buffer((size,), dtype)):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            S = T.alloc_buffer((2,), "float32")
            S[0] = T.float32(mantissa // MANTISSA_SPLIT)
            S[1] = assembled(S[0], mantissa % MANTISSA_SPLIT, factors)
            for i in T.serial(size):
                V = T.alloc_buffer((4,), "float32")  # the quotient, its magnitude, what rounds it, the next border
                V[0] = X[i] / S[1]
                # In this order and with > and <, so that a NaN becomes the lower bound.
                V[0] = T.Select(V[0] > T.float32(-high), V[0], T.float32(-high))
                V[0] = T.Select(V[0] < T.float32(high), V[0], T.float32(high))
                V[1] = T.Select(V[0] < T.float32(0), T.float32(0) - V[0], V[0])
                V[2] = T.float32(ROUNDER)
                V[3] = T.float32(first)
                for _ in T.serial(borders):
                    V[2] = T.Select(V[1] >= V[3], V[2] + V[2], V[2])
                    V[3] = V[3] + V[3]
                V[2] = T.Select(V[0] < T.float32(0), T.float32(0) - V[2], V[2])
                V[0] = V[0] + V[2]
                Y[i] = T.cast(T.cast(V[0] - V[2], "int32"), dtype)

        return quantize_float

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Multiples of half a step and their neighbours, both bounds and beyond, infinities, NaN, and noise."""
        scale, reach = np.float32(self.scale), 4 * 2 ** (self.mantissa + 1)
        small = np.arange(-reach, reach + 1) / 2
        ties = np.concatenate([small * 2.0**step for step in range(self.steps.exponents)]).astype(np.float32) * scale
        top = np.array([self.high, 2 * self.high, 1e30], np.float32) * scale
        special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, *top, *-top], np.float32)
        near = [np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))]
        noise = (rng.standard_normal(self.size) * self.high / 2).astype(np.float32) * scale
        return (np.concatenate([special, ties, *near, noise])[: self.size],)


def cases() -> Iterable[QuantizeFloat]:
    e3m2, e4m3 = (2, 448), (3, 229376)
    for scale in (0.1, 1 / 3, 2.0**-7, 7.3e-5):
        yield QuantizeFloat(1500, float(np.float32(scale)), *e3m2)
        yield QuantizeFloat(6000, float(np.float32(scale)), *e4m3, dtype="int32")
    yield QuantizeFloat(1, 1.0, *e3m2)
