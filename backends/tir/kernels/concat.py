"""The loops of `Concat`: `bevel.backends.program.ops.concat`."""

from __future__ import annotations

from math import prod
from typing import Any

from bevel.backends.program.ops.concat import Concat
from bevel.backends.tir.lazy import ir_builder, statements


def build(op: Concat, name: str) -> Any:
    # Seen from the axis outwards every input is [outer, slab], contiguous, whatever its rank.
    outer = prod(op.shape[: op.axis])
    slabs = [prod(shape[op.axis :]) for shape in op.shapes]
    with ir_builder.IRBuilder() as builder, statements.prim_func(s_tir=True):
        statements.func_name(name)
        statements.func_attr({"global_symbol": name, "tirx.noalias": True})
        inputs = [statements.arg(f"x{i}", statements.Buffer((outer, slab), op.dtype)) for i, slab in enumerate(slabs)]
        y = statements.arg("y", statements.Buffer((outer, sum(slabs)), op.dtype))
        start = 0
        for x, slab in zip(inputs, slabs, strict=True):
            with statements.grid(outer, slab) as (i, j):
                statements.buffer_store(y, x[i, j], [i, j + start])
            start += slab
    return builder.get()
