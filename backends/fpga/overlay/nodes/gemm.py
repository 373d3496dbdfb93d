"""Gemm: a row is a window of all pixels that it is made of, as they lie."""

from __future__ import annotations

from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.windows import ChannelScaling, OverlaySums, WindowedImage, WindowProducts
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call


def windows(call: Call, given: tuple[PixelLayout, ...]) -> OverlaySums | str:
    op = call.kernel
    assert isinstance(op, Gemm)
    (x,) = given
    pixels, channels = (x.pixels // op.rows, x.channels) if x.pixels % op.rows == 0 else (1, op.k)
    weights, bias, multiplier, shift = call.constants
    image = WindowedImage(1, op.rows * pixels, channels, (1, pixels), (1, op.rows), (1, pixels))
    made, shaped = PixelLayout(op.rows, op.n), weights.reshape(op.n, 1, pixels, channels)
    return WindowProducts(made, ChannelScaling.of(bias, multiplier, shift, op.output), image, shaped)
