"""The loops of `ChannelTable`: `bevel.backends.program.ops.channel_table`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.channel_table import ENTRIES, ChannelTable
from bevel.backends.tir.lazy import te


def build(op: ChannelTable, name: str) -> Any:
    x = te.placeholder(op.shape, op.source, "x")
    table = te.placeholder((op.channels, ENTRIES), op.dtype, "table")
    y = te.compute(op.shape, lambda o, c, i: table[c, x[o, c, i].astype("int32") - op.first], "y")
    return te.create_prim_func([x, table, y]).with_attr("global_symbol", name)
