"""The loops of `WalshHadamard`: `bevel.backends.program.ops.walsh_hadamard`.

Two stages at once, so that each sum is loaded and stored once for both: eight additions for four elements.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.walsh_hadamard import ButterflyBlock, WalshHadamard
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T
from bevel.calib.arithmetic.requantize import Output


def build(op: WalshHadamard, name: str) -> Any:
    rows, n, entries, sums = op.rows, op.n, op.bases[-1], op.operands()[-1].size
    x_dtype, y_dtype, zero_point = op.x_dtype, op.output.dtype, op.x_zero_point
    blocks = nothing()
    for place in reversed(range(len(op.blocks))):
        first = sum(one.size for one in op.blocks[:place])
        blocks = after(of_block(op.blocks[place], first, op.bases[place], n, op.output), blocks)

    @T.prim_func(s_tir=True)
    def transform(
        X: T.Buffer((rows, n), x_dtype),
        E: T.Buffer((entries,), "int8"),
        Y: T.Buffer((rows, n), y_dtype),
        S: T.Buffer((sums,), "int32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        W = T.sblock_alloc_buffer((4,), "int32")
        for row in T.serial(rows):
            for i in T.serial(n):
                W[0] = T.cast(X[row, i], "int32") - zero_point
                S[i] = W[0] * T.cast(E[i], "int32")
            blocks(E, Y, S, W, row)

    return transform


def nothing() -> Any:
    @T.macro
    def run(E, Y, S, W, row):
        pass

    return run


def after(first: Any, second: Any) -> Any:
    @T.macro
    def run(E, Y, S, W, row):
        first(E, Y, S, W, row)
        second(E, Y, S, W, row)

    return run


def of_block(block: ButterflyBlock, first: int, base: int, free: int, output: Output) -> Any:
    """Of the signed codes from `first` on. base: where its base is among the entries; free: where the sums have room
    for what that multiplies."""
    size, m, stages, multiplier, shift = block.size, block.m, block.stages, block.multiplier, block.shift
    bases, last = size // m if m > 1 else 0, size // 2 if stages % 2 else 0

    @T.macro
    def run(E, Y, S, W, row):
        for part in T.serial(bases):
            for j in T.serial(m):
                S[free + j] = S[first + part * m + j]
            for i in T.serial(m):
                S[first + part * m + i] = 0
                for j in T.serial(m):
                    S[first + part * m + i] = S[first + part * m + i] + S[free + j] * T.cast(
                        E[base + j * m + i], "int32"
                    )
        for pair in T.unroll(stages // 2):
            step = T.meta_var(m << (2 * pair))
            for part, i in T.grid(size // (4 * step), step):
                place = T.meta_var(first + part * 4 * step + i)
                W[0] = S[place] + S[place + step]
                W[1] = S[place] - S[place + step]
                W[2] = S[place + 2 * step] + S[place + 3 * step]
                W[3] = S[place + 2 * step] - S[place + 3 * step]
                S[place] = W[0] + W[2]
                S[place + step] = W[1] + W[3]
                S[place + 2 * step] = W[0] - W[2]
                S[place + 3 * step] = W[1] - W[3]
        for i in T.serial(last):
            W[0] = S[first + i] + S[first + i + last]
            S[first + i + last] = S[first + i] - S[first + i + last]
            S[first + i] = W[0]
        for i in T.serial(size):
            Y[row, first + i] = tir.requantize(S[first + i], multiplier, shift, output)

    return run
