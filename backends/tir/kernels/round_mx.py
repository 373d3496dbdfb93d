"""The loops of `RoundMx`: `bevel.backends.program.ops.round_mx`.

A block is read once for its largest magnitude, which gives the exponents to try, once for each of these to sum its
squared errors, and once to be written. The spacing of an element's neighbours doubles with each power of two that it
reaches beyond its mantissa; as the powers are few, they are counted.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.program.ops.round_mx import RoundMx
from bevel.backends.tir.lazy import T
from bevel.calib.formats.mx import AROUND, MxRounding


def build(op: RoundMx, name: str) -> Any:
    rows, channels, rounding = op.rows, op.channels, op.rounding
    block, fraction, top, exponents = rounding.block, rounding.fraction, rounding.top, rounding.exponents
    blocks, even = -(-channels // block), channels % block == 0
    first, last = AROUND[0], AROUND[-1]

    @T.prim_func(s_tir=True)
    def round_mx(Q: T.Buffer((rows, channels), "int32"), Y: T.Buffer((rows, channels), "int16")):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        M = T.sblock_alloc_buffer((1,), "int32")  # the largest magnitude, then what is left of its bits
        E = T.sblock_alloc_buffer((2,), "int32")  # the specification's shift, and the best
        S = T.sblock_alloc_buffer((2,), "int64")  # sums of squared errors: this one, and the least
        # A magnitude and its spacing. Stored, since TVM would take comparisons with max(q, -q) apart.
        A = T.sblock_alloc_buffer((2,), "int32")
        R = T.sblock_alloc_buffer((1,), "int32")
        for row, part in T.grid(rows, blocks):
            begin = T.meta_var(part * block)
            size = T.meta_var(block if even else T.min(block, channels - begin))
            M[0] = 0
            for i in T.serial(size):
                M[0] = T.max(M[0], magnitude(Q[row, begin + i]))
            E[0] = -1 - top
            while M[0] > 0:
                M[0] = M[0] >> 1
                E[0] = E[0] + 1
            S[1] = T.int64(2**63 - 1)
            E[1] = fraction  # compilers do not see that some sum is less
            for step in T.serial(last - first + 1):
                M[0] = T.max(T.min(E[0] + (step + first), exponents + fraction), fraction)
                S[0] = T.int64(0)
                for i in T.serial(size):
                    A[0] = magnitude(Q[row, begin + i])
                    A[1] = spacing(A[0], M[0], rounding)
                    R[0] = element(A[0], A[1], M[0], rounding) - A[0]
                    S[0] = S[0] + T.cast(R[0], "int64") * T.cast(R[0], "int64")
                if S[0] < S[1]:
                    S[1] = S[0]
                    E[1] = M[0]
            for i in T.serial(size):
                A[0] = magnitude(Q[row, begin + i])
                A[1] = spacing(A[0], E[1], rounding)
                R[0] = element(A[0], A[1], E[1], rounding) >> fraction
                Y[row, begin + i] = T.cast(T.if_then_else(Q[row, begin + i] < 0, 0 - R[0], R[0]), "int16")

    return round_mx


def magnitude(value: Any) -> Any:
    return T.max(value, 0 - value)


def spacing(value: Any, shift: Any, rounding: MxRounding) -> Any:
    """TIR for the power of two between the neighbours of a magnitude, in blocks of 2**shift."""
    result = shift
    for bits in range(rounding.mantissa + 1, rounding.top + 1):
        result = result + T.cast(value >= T.shift_left(1 << bits, shift), "int32")
    return result


def element(value: Any, power: Any, shift: Any, rounding: MxRounding) -> Any:
    """TIR for `MxRounding.elements` of a magnitude whose neighbours are 2**power apart."""
    odd = T.shift_right(value, power) & 1
    raised = value + odd + (T.shift_right(T.shift_left(1, power), 1) - 1)
    rounded = T.shift_left(T.shift_right(raised, power), power)
    return T.min(rounded, T.shift_left(rounding.largest, shift))
