"""Resize by picking pixels: y[n, i, j, c] = x[n, rows[i], columns[j], c].

Which pixels depends on ONNX's coordinate and rounding modes and is decided where the graph is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, constant, output
from bevel.backends.tir.kernels.copy import random_values


@dataclass(frozen=True)
class ResizeNearest(Kernel):
    """x: dtype [batch, height, width, channels]; rows: int32 [out_height]; columns: int32 [out_width];
    y: dtype [batch, out_height, out_width, channels].
    """

    batch: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.batch, self.height, self.width, self.channels), self.dtype),
            constant("rows", (self.out_height,), "int32"),
            constant("columns", (self.out_width,), "int32"),
            output("y", (self.batch, self.out_height, self.out_width, self.channels), self.dtype),
        )

    def reference(self, *arrays: Array) -> Array:
        x, rows, columns = arrays
        return x.take(rows, axis=1).take(columns, axis=2)

    def build(self, name: str) -> Any:
        x, rows, columns, y = (te.placeholder(o.shape, o.dtype, o.name) for o in self.operands())
        y = te.compute(y.shape, lambda n, i, j, c: x[n, rows[i], columns[j], c], "y")
        return te.create_prim_func([x, rows, columns, y]).with_attr("global_symbol", name)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, (self.batch, self.height, self.width, self.channels), self.dtype)
        rows = rng.integers(0, self.height, self.out_height, dtype=np.int32)
        columns = rng.integers(0, self.width, self.out_width, dtype=np.int32)
        rows[0], columns[-1] = self.height - 1, self.width - 1
        return x, rows, columns


def cases() -> Iterable[ResizeNearest]:
    yield ResizeNearest(batch=1, height=1, width=1, channels=1, out_height=1, out_width=1)
    yield ResizeNearest(batch=2, height=3, width=5, channels=3, out_height=6, out_width=10)
    yield ResizeNearest(batch=1, height=7, width=6, channels=1, out_height=3, out_width=4)
    yield ResizeNearest(batch=1, height=1, width=4, channels=17, out_height=1, out_width=9)
    yield ResizeNearest(batch=2, height=3, width=4, channels=5, out_height=7, out_width=8, dtype="int16")
