"""The loops of `Table` and `WideTable`: `bevel.backends.program.ops.table`.

Straight lines are found without a search, in 32 bits: the block of a code says where its segments begin and how long
they are; a shift and an addition find the segment.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.table import ENTRIES, Table, WideTable
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T, te
from bevel.calib.arithmetic.piecewise import BITS_OF_LENGTH, DOMAIN_BITS, LOWEST


def build(op: Table | WideTable, name: str) -> Any:
    return on_lines(op, name) if isinstance(op, WideTable) else looked_up(op, name)


def looked_up(op: Table, name: str) -> Any:
    x = te.placeholder((op.size,), "int8", "x")
    table = te.placeholder((ENTRIES,), op.dtype, "table")
    y = te.compute((op.size,), lambda i: table[x[i].astype("int32") + 128], "y")
    return te.create_prim_func([x, table, y]).with_attr("global_symbol", name)


def on_lines(op: WideTable, name: str) -> Any:
    size, block, fraction, output, y_dtype = op.size, op.block, op.fraction, op.output, op.output.dtype

    @T.prim_func(s_tir=True)
    def wide_table(
        X: T.Buffer((size,), "int16"),
        B: T.Buffer((2 ** (DOMAIN_BITS - block),), "uint16"),
        E: T.Buffer((op.segments, 2), "int16"),
        Y: T.Buffer((size,), y_dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for i in T.serial(size):
            V = T.alloc_buffer((4,), "int32")  # the code from the lowest on, its block's entry, segment, offset
            V[0] = T.cast(X[i], "int32") - LOWEST
            V[1] = T.cast(B[V[0] >> block], "int32")
            bits = T.meta_var(V[1] & (BITS_OF_LENGTH - 1))
            V[2] = V[1] // BITS_OF_LENGTH + ((V[0] & ((1 << block) - 1)) >> bits)
            V[3] = V[0] & ((T.int32(1) << bits) - 1)
            left = T.meta_var(T.cast(E[V[2], 0], "int32"))
            rise = T.meta_var(T.cast(E[V[2], 1], "int32") - left)
            half = T.meta_var((T.int32(1 << fraction) << bits) >> 1)
            Y[i] = tir.store(((left << bits) + rise * V[3] + half) >> (bits + fraction), output)

    return wide_table
