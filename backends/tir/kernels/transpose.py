"""The loops of `Transpose`: `bevel.backends.program.ops.transpose`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.transpose import Transpose
from bevel.backends.tir.lazy import te


def build(op: Transpose, name: str) -> Any:
    x = te.placeholder(op.shape, op.dtype, "x")
    place = [op.perm.index(axis) for axis in range(len(op.shape))]
    y = te.compute(op.permuted, lambda *position: x[tuple(position[k] for k in place)], "y")
    return te.create_prim_func([x, y]).with_attr("global_symbol", name)
