"""The loops of `ResizeBilinear`: `bevel.backends.program.ops.resize_bilinear`."""

from __future__ import annotations

from functools import partial
from typing import Any

from bevel.backends.program.ops.resize_bilinear import ResizeBilinear
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T


def stored(op: ResizeBilinear, accumulator: Any) -> Any:
    """The TIR of what is stored."""
    shift = 2 * op.bits
    if op.rescaling is None:
        half = T.IntImm(op.sum_type, 1 << (shift - 1))
        # That of int8 is below 2**29, so that its rounding needs no int64.
        return tir.store((accumulator + half) >> T.cast(T.int32(shift), op.sum_type), op.output)
    centred = T.cast(accumulator - T.int32(op.rescaling.x_zero_point << shift), "int64")
    product = centred * T.int64(op.rescaling.multiplier)
    rounded = tir.even_within(product, op.rescaling.shift, op.rescaling.tolerance)
    return tir.store(rounded, op.output)


def build(op: ResizeBilinear, name: str) -> Any:
    batch, out_height, out_width, channels = op.batch, op.out_height, op.out_width, op.channels
    dtype, sum_type, result = op.output.dtype, op.sum_type, partial(stored, op)

    @T.prim_func(s_tir=True)
    def resize_bilinear(
        X: T.Buffer((batch, op.height, op.width, channels), dtype),
        R: T.Buffer((out_height, 2), "int32"),
        RW: T.Buffer((out_height, 2), "int32"),
        C: T.Buffer((out_width, 2), "int32"),
        CW: T.Buffer((out_width, 2), "int32"),
        Y: T.Buffer((batch, out_height, out_width, channels), dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        W = T.sblock_alloc_buffer((4,), "int32")  # the weights of a pixel's four taps, shared by its channels
        A = T.sblock_alloc_buffer((1,), sum_type)
        for n, i, j in T.grid(batch, out_height, out_width):
            W[0] = RW[i, 0] * CW[j, 0]
            W[1] = RW[i, 0] * CW[j, 1]
            W[2] = RW[i, 1] * CW[j, 0]
            W[3] = RW[i, 1] * CW[j, 1]
            for c in T.serial(channels):
                A[0] = T.cast(X[n, R[i, 0], C[j, 0], c], sum_type) * T.cast(W[0], sum_type)
                A[0] = A[0] + T.cast(X[n, R[i, 0], C[j, 1], c], sum_type) * T.cast(W[1], sum_type)
                A[0] = A[0] + T.cast(X[n, R[i, 1], C[j, 0], c], sum_type) * T.cast(W[2], sum_type)
                A[0] = A[0] + T.cast(X[n, R[i, 1], C[j, 1], c], sum_type) * T.cast(W[3], sum_type)
                Y[n, i, j, c] = result(A[0])

    return resize_bilinear
