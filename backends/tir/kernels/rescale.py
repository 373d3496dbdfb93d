"""The loops of `Rescale`: `bevel.backends.program.ops.rescale`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.rescale import Rescale
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T


def build(op: Rescale, name: str) -> Any:
    size, x_dtype, y_dtype, output, shift = op.size, op.x_dtype, op.output.dtype, op.output, op.shift
    multiplier, zero_point = T.int64(op.multiplier), T.int64(op.x_zero_point)

    @T.prim_func(s_tir=True)
    def rescale(X: T.Buffer((size,), x_dtype), Y: T.Buffer((size,), y_dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for i in T.serial(size):
            product = T.meta_var((T.cast(X[i], "int64") - zero_point) * multiplier)
            Y[i] = tir.store(tir.rounding_shift_right(product, shift), output)

    return rescale
