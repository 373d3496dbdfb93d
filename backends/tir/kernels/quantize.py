"""The loops of `Quantize`: `bevel.backends.program.ops.quantize`.

The rounding needs no library: beyond 2**23 a float32 holds only integers, so adding 10**7 to a value this small rounds
it, ties to even because 10**7 is even, and the integer is what the sum is above 10**7.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.tir.lazy import T

ROUNDER = 10_000_000  # in [2**23, 2**24) with room for two int16, and even


def build(op: Quantize, name: str) -> Any:
    size, zero_point, dtype = op.size, op.zero_point, op.dtype
    low, high = op.clamp
    mantissa, factors = float_parts(op.scale)

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


MANTISSA_SPLIT = 2**12  # two halves of a float32's 24-bit mantissa
EXACT_EXPONENT = 10  # 2.0**-10 and all nearer to 1 have at most seven decimal digits


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
