"""The loops of `DequantizeChannels`: `bevel.backends.program.ops.dequantize_channels`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.dequantize_channels import DequantizeChannels
from bevel.backends.tir.lazy import T


def build(op: DequantizeChannels, name: str) -> Any:
    outer, channels, inner, dtype = op.outer, op.channels, op.inner, op.dtype

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
