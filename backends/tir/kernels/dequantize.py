"""DequantizeLinear to float32: y = (x - zero_point) * scale, one multiplication of an exact integer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir.kernels.copy import random_values
from bevel.backends.tir.kernels.quantize import MANTISSA_SPLIT, assembled, check_scale, float_parts


@dataclass(frozen=True)
class Dequantize(Kernel):
    """x: dtype [size], integers; y: float32 [size]. scale is a float32 value, zero_point a dtype value.

    int32 is for the steps of formats, which stay below 2**24: float32 holds them exactly.
    """

    size: int
    scale: float
    zero_point: int
    dtype: str = "int8"

    def __post_init__(self) -> None:
        check_scale(self.scale)

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), self.dtype), output("y", (self.size,), "float32")

    def reference(self, *arrays: Array) -> Array:
        difference = arrays[0].astype(np.int32) - self.zero_point
        with np.errstate(over="ignore", under="ignore"):
            result: Array = difference.astype(np.float32) * np.float32(self.scale)
        return result

    def build(self, name: str) -> Any:
        size, zero_point, dtype = self.size, self.zero_point, self.dtype
        mantissa, factors = float_parts(self.scale)

        @T.prim_func(s_tir=True)
        def dequantize(X: T.Buffer((size,), dtype), Y: T.Buffer((size,), "float32")):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            S = T.sblock_alloc_buffer((2,), "float32")
            S[0] = T.float32(mantissa // MANTISSA_SPLIT)
            S[1] = assembled(S[0], mantissa % MANTISSA_SPLIT, factors)
            for i in T.serial(size):
                with T.sblock("dequantize"):
                    vi = T.axis.remap("S", [i])
                    Y[vi] = T.cast(T.cast(X[vi], "int32") - zero_point, "float32") * S[1]

        return dequantize

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, (self.size,), self.dtype),)


def cases() -> Iterable[Dequantize]:
    for scale in (0.1, 1 / 3, 2.0**-7, 7.3e-5, 1e36, 1e37, 1.5e-38, 1e-44):
        yield Dequantize(700, float(np.float32(scale)), zero_point=-128)
    yield Dequantize(700, float(np.float32(0.1)), zero_point=127)
    yield Dequantize(701, float(np.float32(0.0235294122)), zero_point=255, dtype="uint8")
    yield Dequantize(1, 1.0, zero_point=0, dtype="uint8")
    yield Dequantize(700, float(np.float32(7.3e-5)), zero_point=-32768, dtype="int16")
    yield Dequantize(700, float(np.float32(7.3e-5)), zero_point=0, dtype="int32")
