"""The loops of `Pad`: `bevel.backends.program.ops.pad`.

y is filled with the value, then x is copied to its middle. Filling everything first writes the middle twice, and in
exchange no element asks whether it is padding.
"""

from __future__ import annotations

from typing import Any

import tvm.script.ir_builder.tirx as I
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from bevel.backends.program.ops.pad import Pad


def build(op: Pad, name: str) -> Any:
    value = tirx.const(op.value, op.dtype)
    with IRBuilder() as builder, I.prim_func(s_tir=True):
        I.func_name(name)
        I.func_attr({"global_symbol": name, "tirx.noalias": True})
        x = I.arg("x", I.Buffer(op.shape, op.dtype))
        y = I.arg("y", I.Buffer(op.padded, op.dtype))
        with I.grid(*op.padded) as position:
            I.buffer_store(y, value, indices(position))
        with I.grid(*op.shape) as position:
            inside = indices(position)
            middle = [index + before for index, before in zip(inside, op.pads_before, strict=True)]
            I.buffer_store(y, x[tuple(inside)], middle)
    return builder.get()


def indices(position: Any) -> list[Any]:
    """The loop variables of an `I.grid`, which hands a single one over bare."""
    return [position] if isinstance(position, tirx.Var) else list(position)
