"""The loops of `Conv`: `bevel.backends.program.ops.conv`.

They are those of `bevel.backends.tir.windows`.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.shapes import register_tile
from bevel.backends.tir.lazy import T
from bevel.backends.tir.windows import WeightLayout, WindowSums, pixels


def build(op: Conv, name: str) -> Any:
    channels, depth, taps = op.channels_out, op.channels_in // op.groups, op.taps
    x, y = (op.batch, op.height, op.width, op.channels_in), (op.batch, *op.positions, channels)
    tile = register_tile(channels if op.depthwise else channels // op.groups)
    body = pixels(op, WeightLayout(channels, taps, depth), tile, WindowSums())

    @T.prim_func(s_tir=True)
    def conv(
        X: T.Buffer(x, "int8"),
        W: T.Buffer((channels * taps,), "int8"),
        B: T.Buffer((channels,), "int32"),
        M: T.Buffer((channels,), "int32"),
        S: T.Buffer((channels,), "int8"),
        Y: T.Buffer(y, "int8"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        body(X, W, B, M, S, Y, 0)

    return conv
