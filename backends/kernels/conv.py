"""Conv with constant int8 weights, channels last: y = requantize(bias + sum over taps of x * w).

Padding holds the input's zero point, which the bias already subtracts, so a tap in the padding adds
x_zero_point * w. Whether a tap lies inside the image is asked once a tap and tile of output channels, never in the
innermost loop. Conv of one dimension is height 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends import arithmetic as tir
from bevel.backends import examples
from bevel.backends.kernel import Array, Kernel, Operand, activation, constant, output
from bevel.backends.loops import inside_image, register_tile, window_positions
from bevel.calib.arithmetic import Output, requantize


@dataclass(frozen=True)
class Conv(Kernel):
    """x: int8 [N, H, W, Cin]; w: int8 [Cout, kh, kw, Cin / groups]; bias, multiplier: int32 [Cout]; shift: int8 [Cout];
    y: int8 [N, OH, OW, Cout].

    bias already holds b - x_zero_point * sum(w). pads are (top, left, bottom, right). groups is any divisor of both
    channel counts; equal to Cin it is a depthwise convolution, with or without a channel multiplier.
    """

    batch: int
    height: int
    width: int
    channels_in: int
    channels_out: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    groups: int
    x_zero_point: int
    output: Output

    @property
    def positions(self) -> tuple[int, int]:
        """(OH, OW)."""
        top, left, bottom, right = self.pads
        return (
            window_positions(self.height, self.kernel[0], self.strides[0], self.dilations[0], top, bottom),
            window_positions(self.width, self.kernel[1], self.strides[1], self.dilations[1], left, right),
        )

    @property
    def taps(self) -> int:
        """Products summed for one output element."""
        return self.kernel[0] * self.kernel[1] * (self.channels_in // self.groups)

    @property
    def macs(self) -> int:
        return self.batch * self.positions[0] * self.positions[1] * self.channels_out * self.taps

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.batch, self.height, self.width, self.channels_in)),
            constant("w", (self.channels_out, *self.kernel, self.channels_in // self.groups), "int8"),
            constant("bias", (self.channels_out,), "int32"),
            constant("multiplier", (self.channels_out,), "int32"),
            constant("shift", (self.channels_out,), "int8"),
            output("y", (self.batch, *self.positions, self.channels_out)),
        )

    def reference(self, *arrays: Array) -> Array:
        x, w, bias, multiplier, shift = arrays
        (rows, columns), groups = self.positions, self.groups
        top, left, bottom, right = self.pads
        margins = ((0, 0), (top, bottom), (left, right), (0, 0))
        padded = np.pad(x, margins, constant_values=self.x_zero_point).astype(np.float64)
        pixels = self.batch * rows * columns
        # float64 is exact here, integers below 2**53 throughout, and much faster than numpy's integer product.
        accumulator = np.zeros((groups, pixels, self.channels_out // groups))
        for i, j in np.ndindex(*self.kernel):
            down, right_of = i * self.dilations[0], j * self.dilations[1]
            taken = padded[:, down :: self.strides[0], right_of :: self.strides[1]][:, :rows, :columns]
            by_group = taken.reshape(pixels, groups, -1).transpose(1, 0, 2)
            accumulator += by_group @ w[:, i, j].reshape(groups, -1, w.shape[3]).transpose(0, 2, 1).astype(np.float64)
        by_pixel = np.ascontiguousarray(accumulator.transpose(1, 0, 2), np.int64)
        total = by_pixel.reshape(self.batch, rows, columns, -1) + bias
        return requantize(total, multiplier, shift, self.output)

    def build(self, name: str) -> Any:
        one_channel_groups = self.channels_in == self.channels_out == self.groups
        return self._build_depthwise(name) if one_channel_groups else self._build_grouped(name)

    def _build_grouped(self, name: str) -> Any:
        """A register tile of one group's output channels at a time, each input loaded once for all of them."""
        batch, height, width, (rows, columns) = self.batch, self.height, self.width, self.positions
        (kh, kw), (down, right), (row_step, column_step) = self.kernel, self.strides, self.dilations
        pads, (top, left, _, _), x_zero_point, output = self.pads, self.pads, self.x_zero_point, self.output
        groups, group_in, group_out = self.groups, self.channels_in // self.groups, self.channels_out // self.groups
        channels, tile = self.channels_out, register_tile(group_out)

        @T.prim_func(s_tir=True)
        def conv(
            X: T.Buffer((batch, height, width, groups * group_in), "int8"),
            W: T.Buffer((channels, kh, kw, group_in), "int8"),
            B: T.Buffer((channels,), "int32"),
            M: T.Buffer((channels,), "int32"),
            S: T.Buffer((channels,), "int8"),
            Y: T.Buffer((batch, rows, columns, channels), "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for n, y, x, g, block in T.grid(batch, rows, columns, groups, group_out // tile):
                first = T.meta_var(g * group_out + block * tile)
                A = T.alloc_buffer((tile,), "int32")
                for u in T.unroll(tile):
                    A[u] = B[first + u]
                for i, j in T.grid(kh, kw):
                    row = T.meta_var(y * down + i * row_step - top)
                    column = T.meta_var(x * right + j * column_step - left)
                    if inside_image(row, column, height, width, pads):
                        for c in T.serial(group_in):
                            for u in T.unroll(tile):
                                A[u] = A[u] + T.cast(X[n, row, column, g * group_in + c], "int32") * T.cast(
                                    W[first + u, i, j, c], "int32"
                                )
                    else:
                        for c in T.serial(group_in):
                            for u in T.unroll(tile):
                                A[u] = A[u] + x_zero_point * T.cast(W[first + u, i, j, c], "int32")
                for u in T.unroll(tile):
                    Y[n, y, x, first + u] = tir.requantize(A[u], M[first + u], S[first + u], output)

        return conv

    def _build_depthwise(self, name: str) -> Any:
        """A register tile of channels at a time, each its own group."""
        batch, height, width, (rows, columns) = self.batch, self.height, self.width, self.positions
        (kh, kw), (down, right), (row_step, column_step) = self.kernel, self.strides, self.dilations
        pads, (top, left, _, _), x_zero_point, output = self.pads, self.pads, self.x_zero_point, self.output
        channels, tile = self.channels_out, register_tile(self.channels_out)

        @T.prim_func(s_tir=True)
        def depthwise(
            X: T.Buffer((batch, height, width, channels), "int8"),
            W: T.Buffer((channels, kh, kw, 1), "int8"),
            B: T.Buffer((channels,), "int32"),
            M: T.Buffer((channels,), "int32"),
            S: T.Buffer((channels,), "int8"),
            Y: T.Buffer((batch, rows, columns, channels), "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for n, y, x, block in T.grid(batch, rows, columns, channels // tile):
                first = T.meta_var(block * tile)
                A = T.alloc_buffer((tile,), "int32")
                for u in T.unroll(tile):
                    A[u] = B[first + u]
                for i, j in T.grid(kh, kw):
                    row = T.meta_var(y * down + i * row_step - top)
                    column = T.meta_var(x * right + j * column_step - left)
                    if inside_image(row, column, height, width, pads):
                        for u in T.unroll(tile):
                            A[u] = A[u] + T.cast(X[n, row, column, first + u], "int32") * T.cast(
                                W[first + u, i, j, 0], "int32"
                            )
                    else:
                        for u in T.unroll(tile):
                            A[u] = A[u] + x_zero_point * T.cast(W[first + u, i, j, 0], "int32")
                for u in T.unroll(tile):
                    Y[n, y, x, first + u] = tir.requantize(A[u], M[first + u], S[first + u], output)

        return depthwise

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, w = (operand.shape for operand in self.operands()[:2])
        return (
            examples.activations(rng, x),
            examples.weights(rng, w),
            examples.biases(rng, self.channels_out),
            *examples.rescaling(rng, (self.channels_out,), taps=self.taps),
        )


def cases() -> Iterable[Conv]:
    """Ordinary, then strided, dilated, unevenly padded, grouped; zero points at both ends."""

    def conv(size: tuple[int, ...], channels: tuple[int, int], kernel: tuple[int, int], **changes: Any) -> Conv:
        batch, height, width = size
        plain: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "groups": 1}
        plain |= {"x_zero_point": 0, "output": Output(zero_point=-3)}
        return Conv(batch, height, width, *channels, kernel, **(plain | changes))

    relu = Output(zero_point=-128)
    yield conv((1, 1, 1), (1, 1), (1, 1))
    yield conv((2, 5, 4), (3, 8), (1, 1), strides=(2, 2), output=relu)
    yield conv((1, 5, 6), (3, 4), (3, 3), pads=(1, 1, 1, 1), x_zero_point=-128, output=relu)
    yield conv((2, 7, 5), (5, 6), (3, 3), strides=(2, 2), pads=(0, 0, 1, 1), x_zero_point=127)
    yield conv((1, 9, 8), (4, 3), (2, 3), dilations=(2, 3), pads=(0, 3, 2, 1), x_zero_point=5)
    yield conv((1, 1, 19), (3, 7), (1, 5), strides=(1, 2), pads=(0, 2, 0, 2), output=Output(7, -9, 100))
    yield conv((1, 4, 4), (6, 9), (3, 3), groups=3, pads=(1, 0, 0, 1), x_zero_point=-1)
    yield conv((2, 6, 5), (8, 8), (3, 3), groups=8, pads=(1, 1, 1, 1), x_zero_point=-128, output=relu)
    yield conv((1, 9, 7), (3, 3), (4, 2), groups=3, strides=(3, 1), dilations=(2, 1), pads=(2, 1, 1, 0))
    yield conv((1, 5, 5), (3, 6), (3, 3), groups=3, strides=(2, 2), pads=(1, 1, 1, 1), x_zero_point=44)
