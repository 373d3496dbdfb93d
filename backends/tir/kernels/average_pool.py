"""AveragePool, channels last: y = requantize(sum over the taps inside the image of x - x_zero_point).

The divisor differs between positions where padding does not count, so that the multiplier and the shift, which carry
it, are given for each position.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program import examples
from bevel.backends.program.kernel import Array, Kernel, Operand, activation, constant, output
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.loops import inside_image, register_tile, window_positions
from bevel.calib.arithmetic.requantize import Output, requantize


@dataclass(frozen=True)
class AveragePool(Kernel):
    """x: int8 [N, H, W, C]; multiplier: int32 [OH, OW]; shift: int8 [OH, OW]; y: int8 [N, OH, OW, C].

    pads are (top, left, bottom, right) and hold the real number 0, whether or not the divisor counts them.
    """

    batch: int
    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    x_zero_point: int
    output: Output

    @property
    def positions(self) -> tuple[int, int]:
        """(OH, OW)."""
        top, left, bottom, right = self.pads
        return (
            window_positions(self.height, self.kernel[0], self.strides[0], 1, top, bottom),
            window_positions(self.width, self.kernel[1], self.strides[1], 1, left, right),
        )

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.batch, self.height, self.width, self.channels)),
            constant("multiplier", self.positions, "int32"),
            constant("shift", self.positions, "int8"),
            output("y", (self.batch, *self.positions, self.channels)),
        )

    def reference(self, *arrays: Array) -> Array:
        x, multiplier, shift = arrays
        top, left, bottom, right = self.pads
        centred = np.pad(x.astype(np.int64) - self.x_zero_point, ((0, 0), (top, bottom), (left, right), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(centred, self.kernel, (1, 2))
        total = windows[:, :: self.strides[0], :: self.strides[1]].sum((-2, -1))
        return requantize(total, multiplier[..., np.newaxis], shift[..., np.newaxis], self.output)

    def build(self, name: str) -> Any:
        batch, height, width, channels, (rows, columns) = *self.operands()[0].shape, self.positions
        (kh, kw), (down, right), pads, (top, left, _, _) = self.kernel, self.strides, self.pads, self.pads
        x_zero_point, output, tile = self.x_zero_point, self.output, register_tile(channels)

        @T.prim_func(s_tir=True)
        def average_pool(
            X: T.Buffer((batch, height, width, channels), "int8"),
            M: T.Buffer((rows, columns), "int32"),
            S: T.Buffer((rows, columns), "int8"),
            Y: T.Buffer((batch, rows, columns, channels), "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for n, y, x, block in T.grid(batch, rows, columns, channels // tile):
                first = T.meta_var(block * tile)
                A = T.alloc_buffer((tile,), "int32")
                for u in T.unroll(tile):
                    A[u] = 0
                for i, j in T.grid(kh, kw):
                    row = T.meta_var(y * down + i - top)
                    column = T.meta_var(x * right + j - left)
                    if inside_image(row, column, height, width, pads):
                        for u in T.unroll(tile):
                            A[u] = A[u] + (T.cast(X[n, row, column, first + u], "int32") - x_zero_point)
                for u in T.unroll(tile):
                    Y[n, y, x, first + u] = tir.requantize(A[u], M[y, x], S[y, x], output)

        return average_pool

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, positions = self.operands()[0].shape, self.positions
        taps = self.kernel[0] * self.kernel[1]
        return examples.activations(rng, x), *examples.rescaling(rng, positions, taps, deviation=74)


def cases() -> Iterable[AveragePool]:
    yield AveragePool(1, 1, 1, 1, (1, 1), (1, 1), (0, 0, 0, 0), 0, Output())
    yield AveragePool(2, 6, 5, 3, (2, 2), (2, 2), (0, 0, 0, 0), -128, Output(zero_point=-128))
    yield AveragePool(1, 7, 8, 16, (3, 3), (2, 2), (1, 1, 1, 1), 127, Output(zero_point=11))
    yield AveragePool(1, 5, 7, 5, (4, 3), (1, 2), (3, 0, 1, 2), -7, Output(4, -40, 60))
    yield AveragePool(1, 8, 8, 10, (8, 8), (1, 1), (0, 0, 0, 0), 3, Output(zero_point=-3))
