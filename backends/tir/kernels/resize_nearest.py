"""The loops of `ResizeNearest`: `bevel.backends.program.ops.resize_nearest`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.resize_nearest import ResizeNearest
from bevel.backends.tir.lazy import te


def build(op: ResizeNearest, name: str) -> Any:
    x, rows, columns, y = (te.placeholder(o.shape, o.dtype, o.name) for o in op.operands())
    y = te.compute(y.shape, lambda n, i, j, c: x[n, rows[i], columns[j], c], "y")
    return te.create_prim_func([x, rows, columns, y]).with_attr("global_symbol", name)
