"""The loops of `Gather`: `bevel.backends.program.ops.gather`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.gather import Gather
from bevel.backends.tir.lazy import te


def build(op: Gather, name: str) -> Any:
    x, *indices, y = (te.placeholder(operand.shape, operand.dtype, operand.name) for operand in op.operands())
    lists = dict(zip(op.listed, indices, strict=True))

    def element(*position: Any) -> Any:
        return x[tuple(lists[axis][place] if axis in lists else place for axis, place in enumerate(position))]

    y = te.compute(op.gathered, element, "y")
    return te.create_prim_func([x, *indices, y]).with_attr("global_symbol", name)
