"""The loops of `Pad`: `bevel.backends.program.ops.pad`.

y is filled with the value, then x is copied to its middle. Filling everything first writes the middle twice, and in
exchange no element asks whether it is padding.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.pad import Pad
from bevel.backends.tir.functions import function, in_grid
from bevel.backends.tir.lazy import statements, tirx


def build(op: Pad, name: str) -> Any:
    value = tirx.const(op.value, op.dtype)

    def loops(buffers: tuple[Any, ...]) -> None:
        x, y = buffers

        def copied(inside: tuple[Any, ...]) -> None:
            middle = [index + before for index, before in zip(inside, op.pads_before, strict=True)]
            statements.buffer_store(y, x[inside], middle)

        in_grid(op.padded, lambda place: statements.buffer_store(y, value, list(place)))
        in_grid(op.shape, copied)

    return function(name, [("x", op.shape, op.dtype), ("y", op.padded, op.dtype)], loops)
