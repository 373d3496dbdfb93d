"""The loops of `Pad`: `bevel.backends.program.ops.pad`.

y is filled with the value, then x is copied to its middle. Filling everything first writes the middle twice, and in
exchange no element asks whether it is padding.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.pad import Pad
from bevel.backends.tir.lazy import ir_builder, statements, tirx


def build(op: Pad, name: str) -> Any:
    value = tirx.const(op.value, op.dtype)
    with ir_builder.IRBuilder() as builder, statements.prim_func(s_tir=True):
        statements.func_name(name)
        statements.func_attr({"global_symbol": name, "tirx.noalias": True})
        x = statements.arg("x", statements.Buffer(op.shape, op.dtype))
        y = statements.arg("y", statements.Buffer(op.padded, op.dtype))
        with statements.grid(*op.padded) as position:
            statements.buffer_store(y, value, indices(position))
        with statements.grid(*op.shape) as position:
            inside = indices(position)
            middle = [index + before for index, before in zip(inside, op.pads_before, strict=True)]
            statements.buffer_store(y, x[tuple(inside)], middle)
    return builder.get()


def indices(position: Any) -> list[Any]:
    """The loop variables of an `statements.grid`, which hands a single one over bare."""
    return [position] if isinstance(position, tirx.Var) else list(position)
