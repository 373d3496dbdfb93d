"""`bevel.calib.arithmetic.normalize.root` as TIR statements, for use inside kernels."""

from __future__ import annotations

from typing import Any

from bevel.backends.tir.lazy import T
from bevel.calib.arithmetic.normalize import ROOT_BITS

HALVINGS = 5  # of the 29 places that a sum may be shifted: by 16 if there is room, by 8, by 4 ..


def root_of() -> Any:
    """A macro: of the int64 V[0] below 2**60, which it shifts, the root in the int32 S[2] and the places in S[1]."""
    one = T.int64(1)

    @T.macro
    def root(V, S):  # type: ignore[no-untyped-def]
        S[1] = 0
        for halving in T.unroll(HALVINGS):
            places = T.meta_var(T.int32(1) << (HALVINGS - 1 - halving))
            if V[0] < (one << T.cast(2 * ROOT_BITS - 2 * places, "int64")):
                V[0] = V[0] << T.cast(2 * places, "int64")
                S[1] = S[1] + places
        S[2] = 0
        for bit in T.serial(ROOT_BITS):
            tried = T.meta_var(S[2] | (T.int32(1) << (ROOT_BITS - 1 - bit)))
            if T.cast(tried, "int64") * T.cast(tried, "int64") <= V[0]:
                S[2] = tried

    return root
