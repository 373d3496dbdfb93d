"""The loops of `RoundEven`: `bevel.backends.program.ops.round_even`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.round_even import RoundEven
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T


def build(op: RoundEven, name: str) -> Any:
    size, y_dtype, output, multiplier = op.size, op.output.dtype, op.output, T.int64(op.multiplier)
    shift, tolerance = op.shift, op.tolerance

    @T.prim_func(s_tir=True)
    def round_even(X: T.Buffer((size,), "int32"), Y: T.Buffer((size,), y_dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for i in T.serial(size):
            product = T.meta_var(T.cast(X[i], "int64") * multiplier)
            Y[i] = tir.store(tir.even_within(product, shift, tolerance), output)

    return round_even
