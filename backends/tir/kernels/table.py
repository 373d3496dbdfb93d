"""The loops of `Table`: `bevel.backends.program.ops.table`."""

from __future__ import annotations

from typing import Any

from tvm import te

from bevel.backends.program.ops.table import ENTRIES, Table


def build(op: Table, name: str) -> Any:
    x = te.placeholder((op.size,), "int8", "x")
    table = te.placeholder((ENTRIES,), op.dtype, "table")
    y = te.compute((op.size,), lambda i: table[x[i].astype("int32") + 128], "y")
    return te.create_prim_func([x, table, y]).with_attr("global_symbol", name)
