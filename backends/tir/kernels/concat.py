"""The loops of `Concat`: `bevel.backends.program.ops.concat`."""

from __future__ import annotations

from math import prod
from typing import Any

from bevel.backends.program.ops.concat import Concat
from bevel.backends.tir.functions import function
from bevel.backends.tir.lazy import statements


def build(op: Concat, name: str) -> Any:
    # Seen from the axis outwards every input is [outer, slab], contiguous, whatever its rank.
    outer = prod(op.shape[: op.axis])
    slabs = [prod(shape[op.axis :]) for shape in op.shapes]

    def loops(buffers: tuple[Any, ...]) -> None:
        *inputs, y = buffers
        start = 0
        for x, slab in zip(inputs, slabs, strict=True):
            with statements.grid(outer, slab) as (i, j):
                statements.buffer_store(y, x[i, j], [i, j + start])
            start += slab

    inputs = [(f"x{i}", (outer, slab), op.dtype) for i, slab in enumerate(slabs)]
    return function(name, [*inputs, ("y", (outer, sum(slabs)), op.dtype)], loops)
