"""The loops of `Clip`: `bevel.backends.program.ops.clip`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.clip import Clip
from bevel.backends.tir.lazy import te, tirx


def build(op: Clip, name: str) -> Any:
    low, high = tirx.const(op.low, op.dtype), tirx.const(op.high, op.dtype)
    x = te.placeholder((op.size,), op.dtype, "x")
    y = te.compute((op.size,), lambda i: te.max(te.min(x[i], high), low), "y")
    return te.create_prim_func([x, y]).with_attr("global_symbol", name)
