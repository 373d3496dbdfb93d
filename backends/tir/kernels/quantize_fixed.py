"""The loops of `QuantizeFixed`: `bevel.backends.program.ops.quantize_fixed`.

They round as `bevel.backends.tir.kernels.quantize` does, by a larger number: between 2**23 and 2**24 a float32 holds
only integers, and 12.5 million has four million of them on each side.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.quantize_fixed import QuantizeFixed
from bevel.backends.tir.kernels.quantize import MANTISSA_SPLIT, assembled, float_parts
from bevel.backends.tir.lazy import T

ROUNDER = 12_500_000


def build(op: QuantizeFixed, name: str) -> Any:
    size, low, high = op.size, op.low, op.high
    mantissa, factors = float_parts(op.scale)

    @T.prim_func(s_tir=True)
    def quantize_fixed(X: T.Buffer((size,), "float32"), Y: T.Buffer((size,), "int32")):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        S = T.sblock_alloc_buffer((3,), "float32")
        S[0] = T.float32(mantissa // MANTISSA_SPLIT)
        S[1] = assembled(S[0], mantissa % MANTISSA_SPLIT, factors)
        for i in T.serial(size):
            # Stored in between: as one expression it would divide anew for each of its uses.
            S[2] = X[i] / S[1]
            S[2] = T.Select(S[2] > T.float32(low), S[2], T.float32(low))
            S[2] = T.Select(S[2] < T.float32(high), S[2], T.float32(high))
            Y[i] = T.cast(S[2] + T.float32(ROUNDER), "int32") - ROUNDER

    return quantize_fixed
