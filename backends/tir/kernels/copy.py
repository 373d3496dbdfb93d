"""The loops of `Copy` and `ConvertSign`: `bevel.backends.program.ops.copy`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.copy import ConvertSign, Copy
from bevel.backends.tir.lazy import te, tirx


def build(op: Copy | ConvertSign, name: str) -> Any:
    return copy(op, name) if isinstance(op, Copy) else convert_sign(op, name)


def copy(op: Copy, name: str) -> Any:
    x = te.placeholder((op.size,), op.dtype, "x")
    y = te.compute((op.size,), lambda i: x[i], "y")
    return te.create_prim_func([x, y]).with_attr("global_symbol", name)


def convert_sign(op: ConvertSign, name: str) -> Any:
    top_bit = tirx.const(0x80, "uint8")
    x = te.placeholder((op.size,), op.source, "x")
    y = te.compute((op.size,), lambda i: (x[i].astype("uint8") ^ top_bit).astype(op.target), "y")
    return te.create_prim_func([x, y]).with_attr("global_symbol", name)
