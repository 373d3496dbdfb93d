"""QuantizeLinear from float32: y = round_half_even(clamp(x / scale, low - zero_point, high - zero_point)) + zero_point.

Clamping first is what onnxruntime does too; it turns a NaN into the lower bound. The rounding needs no library: beyond
2**23 a float32 holds only integers, so adding 10**7 to a value this small rounds it, ties to even because 10**7 is
even, and the integer is what the sum is above 10**7.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output

ROUNDER = 10_000_000  # in [2**23, 2**24) with room for two int16, and even


@dataclass(frozen=True)
class Quantize(Kernel):
    """x: float32 [size]; y: dtype [size], int8, uint8 or int16. scale is a float32 value, zero_point a dtype value.

    Equals onnxruntime's QuantizeLinear on x86-64 and aarch64 for every float32, infinities and NaN included.
    """

    size: int
    scale: float
    zero_point: int
    dtype: str = "int8"

    def __post_init__(self) -> None:
        check_scale(self.scale)

    @property
    def bounds(self) -> tuple[int, int]:
        """What x / scale is clamped to."""
        limits = np.iinfo(self.dtype)
        return int(limits.min) - self.zero_point, int(limits.max) - self.zero_point

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), "float32"), output("y", (self.size,), self.dtype)

    def reference(self, *arrays: Array) -> Array:
        low, high = (np.float32(bound) for bound in self.bounds)
        with np.errstate(all="ignore"):
            steps = arrays[0] / np.float32(self.scale)
        # np.clip would let a NaN through.
        clamped = np.where(steps > low, np.minimum(steps, high), low)
        result: Array = (np.rint(clamped).astype(np.int32) + self.zero_point).astype(self.dtype)
        return result

    def build(self, name: str) -> Any:
        size, zero_point, dtype = self.size, self.zero_point, self.dtype
        low, high = self.bounds
        mantissa, factors = float_parts(self.scale)

        @T.prim_func(s_tir=True)
        def quantize(X: T.Buffer((size,), "float32"), Y: T.Buffer((size,), dtype)):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            S = T.sblock_alloc_buffer((2,), "float32")
            V = T.sblock_alloc_buffer((size,), "float32")
            S[0] = T.float32(mantissa // MANTISSA_SPLIT)
            S[1] = assembled(S[0], mantissa % MANTISSA_SPLIT, factors)
            for i in T.serial(size):
                with T.sblock("divide"):
                    vi = T.axis.remap("S", [i])
                    V[vi] = X[vi] / S[1]
                with T.sblock("clamp_below"):  # in this order and with > and <, so that a NaN becomes the lower bound
                    vi = T.axis.remap("S", [i])
                    V[vi] = T.Select(V[vi] > T.float32(low), V[vi], T.float32(low))
                with T.sblock("clamp_above"):
                    vi = T.axis.remap("S", [i])
                    V[vi] = T.Select(V[vi] < T.float32(high), V[vi], T.float32(high))
                with T.sblock("round"):
                    vi = T.axis.remap("S", [i])
                    Y[vi] = T.cast(T.cast(V[vi] + T.float32(ROUNDER), "int32") + (zero_point - ROUNDER), dtype)

        return quantize

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Ties, their neighbours, both bounds and beyond, subnormals, infinities and NaN, as far as there is room."""
        scale = np.float32(self.scale)
        ties = (np.arange(2 * self.bounds[0] - 3, 2 * self.bounds[1] + 4) / 2).astype(np.float32) * scale
        smallest = np.finfo(np.float32).smallest_subnormal
        huge = np.finfo(np.float32).max
        special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, huge, -huge, smallest, -smallest], np.float32)
        near = [np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))]
        noise = (rng.standard_normal(self.size) * 60).astype(np.float32) * scale
        values = np.concatenate([special, ties, *near, noise])
        return (values[: self.size],)


MANTISSA_SPLIT = 2**12  # two halves of a float32's 24-bit mantissa
EXACT_EXPONENT = 10  # 2.0**-10 and all nearer to 1 have at most seven decimal digits


def check_scale(scale: float) -> None:
    """Raises ValueError unless `scale` is positive, finite and exactly a float32."""
    if not (0 < scale < np.inf and float(np.float32(scale)) == scale):
        raise ValueError(f"a scale must be a positive float32, not {scale!r}")


def float_parts(value: float) -> tuple[int, list[float]]:
    """A positive float32 `value` as (integer below 2**24, powers of two): their product, taken in order, is exact.

    TVM's C generator prints seven significant digits of a float literal, two too few to tell float32 values apart.
    Every literal made of these parts has at most seven.
    """
    fraction, exponent = np.frexp(np.float64(value))
    mantissa, rest = int(fraction * 2**24), int(exponent) - 24
    factors = []
    while rest:
        step = max(-EXACT_EXPONENT, min(EXACT_EXPONENT, rest))
        factors.append(2.0**step)
        rest -= step
    return mantissa, factors


def assembled(upper: Any, lower: int, factors: list[float]) -> Any:
    """TIR for (upper * 2**12 + lower) * factors[0] * ...: `upper` is a load, because constants would be folded."""
    result = upper * T.float32(MANTISSA_SPLIT) + T.float32(lower)
    for factor in factors:
        result = result * T.float32(factor)
    return result


def cases() -> Iterable[Quantize]:
    for scale in (0.1, 1 / 3, 2.0**-7, 1.0, 7.3e-5, 1e30, 1.5e-38):
        yield Quantize(2400, float(np.float32(scale)), zero_point=-128)
    yield Quantize(2400, float(np.float32(0.1)), zero_point=127)
    yield Quantize(2400, float(np.float32(0.0235294122)), zero_point=0, dtype="uint8")
    yield Quantize(2401, 0.5, zero_point=255, dtype="uint8")
    yield Quantize(1, 1.0, zero_point=3)
    yield Quantize(3, 1.0, zero_point=-7)
    yield Quantize(5000, float(np.float32(0.1)), zero_point=-32768, dtype="int16")
    yield Quantize(5000, float(np.float32(7.3e-5)), zero_point=0, dtype="int16")
