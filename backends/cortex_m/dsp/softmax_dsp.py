"""Softmax for the DSP extension: two codes a word, exponentials kept from one loop to the next
(`backends/cortex_m/c/bevel_softmax.h`).

An exponential is the rounded upper word of a product, SMMULR, for which tables are stored shifted; a share of 16 bits
too, one of fewer that of SMMLA, with its rounding and zero point in what is added; one that is a power of two is found
by CLZ (`PowerSoftmax`). Where rows keep their first
elements, the others are filled in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.dsp import call_void
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array, Op, Operand, scratch
from bevel.backends.program.ops import power_softmax, softmax
from bevel.backends.program.ops.power_softmax import PowerSoftmax
from bevel.backends.program.ops.softmax import ENTRIES, Softmax, WideSoftmax
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.kernels.softmax import MOST_HELD, rows_of
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import without
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import ENTRY_BITS, FINE, LARGEST

WHOLE = Output(-(2**15), -(2**15), 2**15 - 1, "int16")
TABLES = ("coarse", "fine")
OfShares = Softmax | WideSoftmax | PowerSoftmax
COARSE_BITS, FINE_BITS = 15, 1  # 2**16 together: an upper word's product is shifted by 32


@dataclass(frozen=True)
class SoftmaxDsp(Kernel):
    """The operands and results of `plain`, whose two tables are int32 here, as `shifted` makes them; in scratch lie a
    row's exponentials."""

    rates: ClassVar[Rates] = Rates(input=16, code=560)  # of rows of 65 and 256

    plain: OfShares

    @property
    def op(self) -> Op:
        return self.plain

    @property
    def in_place(self) -> bool:
        return self.plain.in_place

    @property
    def header(self) -> str:
        return "bevel_softmax.h"

    def operands(self) -> tuple[Operand, ...]:
        tables = (replace(one, dtype="int32") if one.name in TABLES else one for one in self.plain.operands())
        return *tables, scratch("e", (self.plain.n,), "int32")

    def reference(self, *arrays: Array) -> Array:
        if isinstance(self.plain, Softmax):
            return self.plain.reference(*arrays)
        *others, coarse, fine = arrays
        return self.plain.reference(*others, coarse >> COARSE_BITS, fine >> FINE_BITS)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return shifted(self.plain, self.plain.example(rng))

    def build(self, name: str) -> Any:
        made = of_one_table(self.plain, name) if isinstance(self.plain, Softmax) else of_two_tables(self.plain, name)
        return without(made, ("K",)) if self.plain.mask is None else made


def of_one_table(op: Softmax, name: str) -> Any:
    n, size, rows, prefix, ends = op.n, op.rows * op.n, rows_of(op), op.mask is not None, ends_of(op.output)
    zero_point, empty = op.output.zero_point, op.nothing

    @T.prim_func(s_tir=True)
    def softmax_dsp(
        X: T.Buffer((size,), "int8"),
        K: T.Buffer((rows.size,), "int32"),
        C: T.Buffer((ENTRIES,), "int32"),
        Y: T.Buffer((size,), "int8"),
        E: T.Buffer((n,), "int32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for at in T.grid(*rows.extents):
            M = T.alloc_buffer((2,), "int32")
            kept = T.meta_var(K[rows.mask(at)] if prefix else n)
            x = T.meta_var(T.address_of(X[rows.row(at) * n]))
            M[0] = value("largest_int8", x, kept)
            M[1] = value("entries", E.data, x, kept, M[0], C.data)
            y = T.meta_var(T.address_of(Y[rows.row(at) * n]))
            call_void("softmax_parts", y, E.data, kept, M[1], zero_point, *ends)
            if prefix:
                call_void("fill_int8", T.address_of(Y[rows.row(at) * n + kept]), 1, n - kept, empty)

    return softmax_dsp


def of_two_tables(op: WideSoftmax | PowerSoftmax, name: str) -> Any:
    n, size, rows, prefix = op.n, op.rows * op.n, rows_of(op), op.mask is not None
    x_dtype, y_dtype, empty = op.x_dtype, op.operands()[-1].dtype, op.nothing
    result = powers() if isinstance(op, PowerSoftmax) else quotients(op)

    @T.prim_func(s_tir=True)
    def wide_softmax_dsp(
        X: T.Buffer((size,), x_dtype),
        K: T.Buffer((rows.size,), "int32"),
        C: T.Buffer((op.coarse,), "int32"),
        F: T.Buffer((FINE,), "int32"),
        Y: T.Buffer((size,), y_dtype),
        E: T.Buffer((n,), "int32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for at in T.grid(*rows.extents):
            M = T.alloc_buffer((2,), "int32")
            kept = T.meta_var(K[rows.mask(at)] if prefix else n)
            x = T.meta_var(T.address_of(X[rows.row(at) * n]))
            M[0] = value(f"largest_{x_dtype}", x, kept)
            M[1] = value(f"powers_{x_dtype}", E.data, x, kept, M[0], C.data, F.data)
            result(T.address_of(Y[rows.row(at) * n]), E.data, kept, M)
            if prefix:
                call_void(f"fill_{y_dtype}", T.address_of(Y[rows.row(at) * n + kept]), 1, n - kept, empty)

    return wide_softmax_dsp


def powers() -> Any:
    """A macro: codes from exponentials, and their sum in M[1]."""

    @T.macro
    def codes(y, e, kept, M):
        call_void("softmax_codes", y, e, kept, M[1])

    return codes


def quotients(op: WideSoftmax) -> Any:
    """A macro: shares from exponentials, and their sum in M[1]."""
    exact, beyond, dtype, ends = of_words(op), ENTRY_BITS - op.bits, op.output.dtype, ends_of(op.output)
    rounding = (2 * op.output.zero_point + 1) << max(beyond - 1, 0)

    @T.macro
    def shares(y, e, kept, M):
        M[1] = value("reciprocal", M[1])
        if exact:
            call_void("softmax_shares", y, e, kept, M[1])
        else:
            call_void(f"softmax_shares_{dtype}", y, e, kept, M[1], rounding, beyond, *ends)

    return shares


def value(helper: str, *arguments: Any) -> Any:
    """An int32 that is computed from what memory holds."""
    return tirx.call_extern("int32", f"bevel_softmax_{helper}", *arguments)


def of_words(op: WideSoftmax) -> bool:
    """Whether shares are of 16 bits, from the least int16 on."""
    return op.bits == ENTRY_BITS and op.output == WHOLE


def shifted(plain: OfShares, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """With tables whose product's upper word is what of their entries is shifted right by 16."""
    if isinstance(plain, Softmax):
        return arrays
    *others, coarse, fine = arrays
    return *others, coarse.astype(np.int32) << COARSE_BITS, fine.astype(np.int32) << FINE_BITS


def ends_of(output: Output) -> tuple[int, int]:
    """What results are held to beyond their type, -32768 and 32767 where to nothing."""
    limits = np.iinfo(output.dtype)
    low = -(2**15) if output.low == limits.min else output.low
    return low, 2**15 - 1 if output.high == limits.max else output.high


def specialize(call: Call, target: Target) -> Special | str:
    """Rows that do not stay in registers, whole or kept to their first elements, on targets with the DSP extension."""
    plain = call.kernel
    if not isinstance(plain, OfShares):
        return "no Softmax"
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    return why_not(plain) or Special(SoftmaxDsp(plain), shifted(plain, call.constants))


def why_not(plain: OfShares) -> str | None:
    if isinstance(plain, Softmax) and plain.n <= MOST_HELD:
        return f"rows of {plain.n} stay in registers"
    if plain.mask is not None and not plain.mask.prefix:
        return "its mask may keep other elements than the first"
    if isinstance(plain, Softmax):
        return None
    if isinstance(plain, PowerSoftmax) and plain.x_dtype in ("int8", "int16"):
        return None if 3 * plain.n * LARGEST < 2**32 else "three times the exponentials of its rows may pass a word"
    if isinstance(plain, PowerSoftmax) or not {plain.x_dtype, plain.output.dtype} <= {"int8", "int16"}:
        return "its integers are wider than int16"
    if plain.sum_dtype != "int32":
        return "the exponentials of its rows may pass a word"
    return None if of_words(plain) or plain.bits < ENTRY_BITS else "shares of 16 bits that are held to less"


def cases() -> Iterable[SoftmaxDsp]:
    """What the plain operator has, rows of every remainder, and reciprocals of many sums."""
    plain = (*softmax.cases(), *power_softmax.cases())
    yield from (SoftmaxDsp(one) for one in plain if why_not(one) is None)
    for n in (1, 2, 3, 17, 18, 23, 40):
        yield SoftmaxDsp(Softmax(3, n, Output(-128)))
        yield SoftmaxDsp(WideSoftmax(3, n, FINE, 16, WHOLE))
        yield SoftmaxDsp(WideSoftmax(3, n, 1, 8, Output(-128), "int8"))
        yield SoftmaxDsp(PowerSoftmax(3, n, FINE))
    yield SoftmaxDsp(WideSoftmax(300, 19, FINE, 16, WHOLE))
    yield SoftmaxDsp(PowerSoftmax(300, 19, FINE))
    yield SoftmaxDsp(WideSoftmax(2, 20, FINE, 12, Output(-2048, -2048, 1000, "int16")))
