"""Resize by picking pixels: y[n, i, j, c] = x[n, rows[i], columns[j], c].

Which pixels depends on ONNX's coordinate and rounding modes and is decided where the graph is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, constant, joined, output


@dataclass(frozen=True)
class ResizeNearest(Op):
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

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        return joined(inputs)

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
