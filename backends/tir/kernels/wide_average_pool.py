"""AveragePool of int16 or int32, or to them: as `bevel.backends.tir.kernels.average_pool`, in int64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, constant, output
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.kernels.wide_add import example_of
from bevel.backends.tir.loops import inside_image, window_positions
from bevel.calib.arithmetic.requantize import Output, fixed_points, requantize


@dataclass(frozen=True)
class WideAveragePool(Kernel):
    """x: x_dtype [N, H, W, C]; multiplier: int32 [OH, OW]; shift: int8 [OH, OW]; y: output.dtype [N, OH, OW, C].

    pads are (top, left, bottom, right) and hold the real number 0, whether or not the divisor counts them. Sums times
    multipliers stay below 2**62.
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
    x_dtype: str = "int16"

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
            activation("x", (self.batch, self.height, self.width, self.channels), self.x_dtype),
            constant("multiplier", self.positions, "int32"),
            constant("shift", self.positions, "int8"),
            output("y", (self.batch, *self.positions, self.channels), self.output.dtype),
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
        x_zero_point, output, x_dtype, y_dtype = self.x_zero_point, self.output, self.x_dtype, self.output.dtype

        @T.prim_func(s_tir=True)
        def wide_average_pool(
            X: T.Buffer((batch, height, width, channels), x_dtype),
            M: T.Buffer((rows, columns), "int32"),
            S: T.Buffer((rows, columns), "int8"),
            Y: T.Buffer((batch, rows, columns, channels), y_dtype),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for n, y, x, c in T.grid(batch, rows, columns, channels):
                A = T.alloc_buffer((1,), "int64")
                A[0] = T.int64(0)
                for i, j in T.grid(kh, kw):
                    row = T.meta_var(y * down + i - top)
                    column = T.meta_var(x * right + j - left)
                    if inside_image(row, column, height, width, pads):
                        A[0] = A[0] + T.cast(T.cast(X[n, row, column, c], "int32") - x_zero_point, "int64")
                product = T.meta_var(A[0] * T.cast(M[y, x], "int64"))
                Y[n, y, x, c] = tir.store(tir.rounding_shift_right(product, S[y, x]), output)

        return wide_average_pool

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        ratios = rng.uniform(0.5, 2.0, self.positions) / (self.kernel[0] * self.kernel[1])
        return example_of(rng, self.operands()[0]), *fixed_points(ratios)


def cases() -> Iterable[WideAveragePool]:
    int16, steps = Output(0, -(2**15), 2**15 - 1, "int16"), Output(0, -(448 << 12), 448 << 12, "int32")
    yield WideAveragePool(1, 1, 1, 1, (1, 1), (1, 1), (0, 0, 0, 0), 0, int16)
    yield WideAveragePool(2, 6, 5, 3, (2, 2), (2, 2), (0, 0, 0, 0), -128, steps)
    yield WideAveragePool(1, 7, 8, 16, (3, 3), (2, 2), (1, 1, 1, 1), 32767, int16)
    yield WideAveragePool(1, 5, 7, 5, (4, 3), (1, 2), (3, 0, 1, 2), 0, Output(4, -40, 60), "int32")
    yield WideAveragePool(1, 4, 4, 2, (4, 4), (1, 1), (0, 0, 0, 0), 3, steps, "int8")
