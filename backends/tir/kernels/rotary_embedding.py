"""The loops of `RotaryEmbedding`: `bevel.backends.program.ops.rotary_embedding`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.rotary_embedding import RotaryEmbedding
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import offset_of


def build(op: RotaryEmbedding, name: str) -> Any:
    """Both of a pair at once: each is read once."""
    x, coefficients, y = op.operands()
    extents, (rows, angles) = broadcast_axes(op.shape, op.shape, op.coefficient_shape)
    n, outer, inner, zero_point = op.n, op.outer, op.inner, op.x_zero_point
    multiplier, shift, output = op.multiplier, op.shift, op.output

    @T.prim_func(s_tir=True)
    def rotary_embedding(
        X: T.Buffer((x.size,), x.dtype),
        C: T.Buffer((coefficients.size,), "int16"),
        Y: T.Buffer((y.size,), y.dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for at in T.grid(*extents):
            for block, i in T.grid(outer, inner):
                P = T.alloc_buffer((2,), "int32")
                place = T.meta_var(offset_of(at, rows) * n + block * 2 * inner + i)
                angle = T.meta_var((offset_of(at, angles) * n + block * 2 * inner + i) * 2)
                for one in T.unroll(2):
                    P[one] = T.cast(X[place + one * inner], "int32") - zero_point
                for one in T.unroll(2):
                    own = T.meta_var(T.cast(C[angle + one * 2 * inner], "int32"))
                    other = T.meta_var(T.cast(C[angle + one * 2 * inner + 1], "int32"))
                    total = T.meta_var(own * P[one] + other * P[1 - one])
                    Y[place + one * inner] = tir.requantize(total, multiplier, shift, output)

    return rotary_embedding
