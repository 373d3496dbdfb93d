"""DequantizeLinear along an axis: y[o, c, i] = (x[o, c, i] - zero_point[c]) * scale[c], one float32 multiplication."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, constant, output
from bevel.backends.tir.kernels.copy import random_values


@dataclass(frozen=True)
class DequantizeChannels(Kernel):
    """x: dtype [outer, channels, inner], integers; scale: float32 [channels]; zero_point: int32 [channels]; y: float32
    like x."""

    outer: int
    channels: int
    inner: int
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.outer, self.channels, self.inner)
        return (
            activation("x", shape, self.dtype),
            constant("scale", (self.channels,), "float32"),
            constant("zero_point", (self.channels,), "int32"),
            output("y", shape, "float32"),
        )

    def reference(self, *arrays: Array) -> Array:
        x, scale, zero_point = arrays
        difference = x.astype(np.int32) - zero_point[:, np.newaxis]
        result: Array = difference.astype(np.float32) * scale[:, np.newaxis]
        return result

    def build(self, name: str) -> Any:
        outer, channels, inner, dtype = self.outer, self.channels, self.inner, self.dtype

        @T.prim_func(s_tir=True)
        def dequantize_channels(
            X: T.Buffer((outer, channels, inner), dtype),
            S: T.Buffer((channels,), "float32"),
            Z: T.Buffer((channels,), "int32"),
            Y: T.Buffer((outer, channels, inner), "float32"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for o, c, i in T.grid(outer, channels, inner):
                with T.sblock("dequantize"):
                    vo, vc, vi = T.axis.remap("SSS", [o, c, i])
                    Y[vo, vc, vi] = T.cast(T.cast(X[vo, vc, vi], "int32") - Z[vc], "float32") * S[vc]

        return dequantize_channels

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, (self.outer, self.channels, self.inner), self.dtype)
        limits = np.iinfo(self.dtype)
        zero_point = rng.integers(limits.min, limits.max, self.channels, np.int32, endpoint=True)
        scale = (10.0 ** rng.uniform(-8, 8, self.channels)).astype(np.float32)
        return x, scale, zero_point


def cases() -> Iterable[DequantizeChannels]:
    yield DequantizeChannels(1, 8, 576)
    yield DequantizeChannels(50, 15, 1)
    yield DequantizeChannels(2, 3, 7, dtype="int16")
    yield DequantizeChannels(1, 1, 1)
