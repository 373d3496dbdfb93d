"""The loops of `Concat`: `bevel.backends.program.ops.concat`."""

from __future__ import annotations

from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as I
from tvm.script.ir_builder import IRBuilder

from bevel.backends.program.ops.concat import Concat


def build(op: Concat, name: str) -> Any:
    # Seen from the axis outwards every input is [outer, slab], contiguous, whatever its rank.
    outer = prod(op.shape[: op.axis])
    slabs = [prod(shape[op.axis :]) for shape in op.shapes]
    with IRBuilder() as builder, I.prim_func(s_tir=True):
        I.func_name(name)
        I.func_attr({"global_symbol": name, "tirx.noalias": True})
        inputs = [I.arg(f"x{i}", I.Buffer((outer, slab), op.dtype)) for i, slab in enumerate(slabs)]
        y = I.arg("y", I.Buffer((outer, sum(slabs)), op.dtype))
        start = 0
        for x, slab in zip(inputs, slabs, strict=True):
            with I.grid(outer, slab) as (i, j):
                I.buffer_store(y, x[i, j], [i, j + start])
            start += slab
    return builder.get()
