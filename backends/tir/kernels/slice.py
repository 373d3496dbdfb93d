"""The loops of `Slice`: `bevel.backends.program.ops.slice`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.slice import Slice
from bevel.backends.tir.lazy import te


def build(op: Slice, name: str) -> Any:
    x = te.placeholder(op.shape, op.dtype, "x")

    def element(*position: Any) -> Any:
        places = zip(op.starts, op.steps, position, strict=True)
        return x[tuple(start + step * index for start, step, index in places)]

    y = te.compute(op.sizes, element, "y")
    return te.create_prim_func([x, y]).with_attr("global_symbol", name)
