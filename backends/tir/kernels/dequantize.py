"""The loops of `Dequantize`: `bevel.backends.program.ops.dequantize`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.tir.kernels.quantize import MANTISSA_SPLIT, assembled, float_parts
from bevel.backends.tir.lazy import T


def build(op: Dequantize, name: str) -> Any:
    size, zero_point, dtype = op.size, op.zero_point, op.dtype
    mantissa, factors = float_parts(op.scale)

    @T.prim_func(s_tir=True)
    def dequantize(X: T.Buffer((size,), dtype), Y: T.Buffer((size,), "float32")):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        S = T.sblock_alloc_buffer((2,), "float32")
        S[0] = T.float32(mantissa // MANTISSA_SPLIT)
        S[1] = assembled(S[0], mantissa % MANTISSA_SPLIT, factors)
        for i in T.serial(size):
            with T.sblock("dequantize"):
                vi = T.axis.remap("S", [i])
                Y[vi] = T.cast(T.cast(X[vi], "int32") - zero_point, "float32") * S[1]

    return dequantize
