"""The loops of a convolution over pixels, output channels and taps, for weights of any layout and sums of any type.

Whether a tap lies inside the image is asked once a tap and tile of output channels, never in the innermost loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bevel.backends.program.ops.conv import Conv
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import inside_image


@dataclass(frozen=True)
class WindowSums:
    """How products are added up: x and w as `inner`, their products as `accumulator`, which is int32 or int64; and how
    sums are brought to the output's scale: `small` where every ratio is known to be below 1/4."""

    accumulator: str = "int32"
    inner: str = "int32"
    small: bool = False

    def product(self, x: Any, w: Any) -> Any:
        """x may be a Python int."""
        wide = T.IntImm(self.inner, x) if isinstance(x, int) else T.cast(x, self.inner)
        return T.cast(wide * T.cast(w, self.inner), self.accumulator)

    @property
    def requantize(self) -> Callable[..., Any]:
        if self.accumulator == "int64":
            return tir.requantize_wide
        return tir.requantize_small if self.small else tir.requantize


@dataclass(frozen=True)
class WeightLayout:
    """Where the weights of `channels` output channels lie: elements between neighbouring channels, and between taps.
    The input channels of a tap are neighbours."""

    channels: int
    channel_step: int
    tap_step: int


def pixels(conv: Conv, weights: WeightLayout, tile: int, sums: WindowSums) -> Any:
    """A TIR macro (X, W, B, M, S, Y, base): the output channels from `base` on, `weights.channels` of them, of every
    pixel; `tile` of them at once, which are in one group unless the convolution is depthwise.

    Each input is loaded once for all of a tile's channels that take it.
    """
    (kh, kw), (down, right), (row_step, column_step) = conv.kernel, conv.strides, conv.dilations
    batch, height, width, (rows, columns) = conv.batch, conv.height, conv.width, conv.positions
    pads, (top, left, _, _), x_zero_point, output = conv.pads, conv.pads, conv.x_zero_point, conv.output
    group_in, group_out = conv.channels_in // conv.groups, conv.channels_out // conv.groups
    channels, step, tap_step = weights.channels, weights.channel_step, weights.tap_step

    def source(first: Any, u: Any, c: Any) -> Any:
        """The input channel that the output channel first + u takes as its group's number c."""
        return first + u if conv.depthwise else first // group_out * group_in + c

    @T.macro
    def every_pixel(X, W, B, M, S, Y, base):  # type: ignore[no-untyped-def]
        for n, y, x, block in T.grid(batch, rows, columns, channels // tile):
            first = T.meta_var(base + block * tile)
            A = T.alloc_buffer((tile,), sums.accumulator)
            for u in T.unroll(tile):
                A[u] = B[first + u]
            for i, j in T.grid(kh, kw):
                row = T.meta_var(y * down + i * row_step - top)
                column = T.meta_var(x * right + j * column_step - left)
                place = T.meta_var(block * tile * step + (i * kw + j) * tap_step)
                if inside_image(row, column, height, width, pads):
                    for c in T.serial(group_in):
                        for u in T.unroll(tile):
                            taken = T.meta_var(X[n, row, column, source(first, u, c)])
                            A[u] = A[u] + sums.product(taken, W[place + u * step + c])
                else:
                    for c in T.serial(group_in):
                        for u in T.unroll(tile):
                            A[u] = A[u] + sums.product(x_zero_point, W[place + u * step + c])
            for u in T.unroll(tile):
                Y[n, y, x, first + u] = sums.requantize(A[u], M[first + u], S[first + u], output)

    return every_pixel
