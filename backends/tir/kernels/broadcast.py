"""The loops of `Broadcast`: `bevel.backends.program.ops.broadcast`."""

from __future__ import annotations

from math import prod
from typing import Any

from bevel.backends.program.ops.broadcast import Broadcast
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import offset_of


def build(op: Broadcast, name: str) -> Any:
    x_size, y_size, dtype = prod(op.x_shape), prod(op.shape), op.dtype
    extents, (x_strides, y_strides) = broadcast_axes(op.shape, op.x_shape, op.shape)

    @T.prim_func(s_tir=True)
    def broadcast(X: T.Buffer((x_size,), dtype), Y: T.Buffer((y_size,), dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for axis in T.grid(*extents):
            Y[offset_of(axis, y_strides)] = X[offset_of(axis, x_strides)]

    return broadcast
