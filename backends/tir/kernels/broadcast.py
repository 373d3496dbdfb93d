"""Repetition along axes: y[i, j, ...] = x[i or 0, j or 0, ...], as numpy broadcasts.

Tile is this too: an axis of n that stands r times is [r, n], broadcast from [1, n].
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir.kernels.copy import random_values
from bevel.backends.tir.loops import broadcast_axes, offset_of


@dataclass(frozen=True)
class Broadcast(Kernel):
    """x: dtype `x_shape`; y: dtype `shape`, to which x broadcasts."""

    shape: tuple[int, ...]
    x_shape: tuple[int, ...]
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", self.x_shape, self.dtype), output("y", self.shape, self.dtype)

    def reference(self, *arrays: Array) -> Array:
        return np.ascontiguousarray(np.broadcast_to(arrays[0], self.shape))

    def build(self, name: str) -> Any:
        x_size, y_size, dtype = prod(self.x_shape), prod(self.shape), self.dtype
        extents, (x_strides, y_strides) = broadcast_axes(self.shape, self.x_shape, self.shape)

        @T.prim_func(s_tir=True)
        def broadcast(X: T.Buffer((x_size,), dtype), Y: T.Buffer((y_size,), dtype)):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for axis in T.grid(*extents):
                Y[offset_of(axis, y_strides)] = X[offset_of(axis, x_strides)]

        return broadcast

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, self.x_shape, self.dtype),)


def cases() -> Iterable[Broadcast]:
    yield Broadcast((1,), (1,))
    yield Broadcast((7,), (1,))
    yield Broadcast((2, 5, 3, 4), (2, 1, 3, 1))
    yield Broadcast((3, 2, 2, 5), (1, 2, 1, 5), "int16")
    yield Broadcast((2, 3, 4), (3, 1), "int32")
