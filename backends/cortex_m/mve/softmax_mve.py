"""Softmax on Helium: exponentials of eight codes at once, shares of four.

The loops are in `backends/cortex_m/c/bevel_softmax_mve.h`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.dsp import call_void
from bevel.backends.program.kernel import Special, Unpacked
from bevel.backends.program.op import Operand, scratch
from bevel.backends.program.ops import softmax
from bevel.backends.program.ops.softmax import WideSoftmax
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.kernels.softmax import rows_of
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import without
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import ENTRY_BITS, FINE


@dataclass(frozen=True)
class SoftmaxMve(Unpacked):
    """The operands and results of `plain`; in scratch lie a row's exponentials."""

    rates: ClassVar[Rates] = Rates(input=3.0, code=260)  # of rows of 65 and 256

    plain: WideSoftmax

    @property
    def header(self) -> str:
        return "bevel_softmax_mve.h"

    def operands(self) -> tuple[Operand, ...]:
        return *self.plain.operands(), scratch("e", (self.plain.n,), "int16")

    def build(self, name: str) -> Any:
        op = self.plain
        n, size, rows, prefix = op.n, op.rows * op.n, rows_of(op), op.mask is not None
        x_dtype, y_dtype, output = op.x_dtype, op.output.dtype, op.output
        empty, wide = int(output.store(np.array(0))), (int(x_dtype == "int16"), int(y_dtype == "int16"))
        stored = (ENTRY_BITS - op.bits, output.zero_point, output.low, output.high)

        @T.prim_func(s_tir=True)
        def softmax_mve(
            X: T.Buffer((size,), x_dtype),
            K: T.Buffer((rows.size,), "int32"),
            C: T.Buffer((op.coarse,), "uint16"),
            F: T.Buffer((FINE,), "uint16"),
            Y: T.Buffer((size,), y_dtype),
            E: T.Buffer((n,), "int16"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for at in T.grid(*rows.extents):
                kept = T.meta_var(K[rows.mask(at)] if prefix else n)
                x = T.meta_var(T.address_of(X[rows.row(at) * n]))
                y = T.meta_var(T.address_of(Y[rows.row(at) * n]))
                call_void("mve_softmax_row", y, x, E.data, C.data, F.data, kept, *wide, *stored)
                if prefix:
                    call_void(f"fill_{y_dtype}", T.address_of(Y[rows.row(at) * n + kept]), 1, n - kept, empty)

        return softmax_mve if prefix else without(softmax_mve, ("K",))


def specialize(call: Call, target: Target) -> Special | str:
    """Rows that are whole or kept to their first elements, on targets with Helium."""
    plain = call.kernel
    if not isinstance(plain, WideSoftmax):
        return "no Softmax by a reciprocal"
    if "mve" not in target.abilities:
        return f"{target.name} has no Helium"
    return why_not(plain) or Special(SoftmaxMve(plain), call.constants)


def why_not(plain: WideSoftmax) -> str | None:
    if plain.sum_dtype != "int32":
        return "the exponentials of its rows may pass a word"
    if plain.mask is not None and not plain.mask.prefix:
        return "its mask may keep other elements than the first"
    fits = plain.x_dtype in ("int8", "int16") and plain.output.dtype in ("int8", "int16")
    return None if fits else "its integers are wider than int16"


def cases() -> Iterable[SoftmaxMve]:
    """What the plain operator has, and rows of every remainder."""
    plain = (one for one in softmax.cases() if isinstance(one, WideSoftmax))
    yield from (SoftmaxMve(one) for one in plain if why_not(one) is None)
    int16 = Output(-(2**15), -(2**15), 2**15 - 1, "int16")
    for n in (4, 8, 11, 22, 24):
        yield SoftmaxMve(WideSoftmax(3, n, FINE, 16, int16))
        yield SoftmaxMve(WideSoftmax(3, n, 1, 8, Output(-128), "int8"))
        yield SoftmaxMve(WideSoftmax(3, n, 1, 8, Output(-100, -90, 20), "int8"))
    yield SoftmaxMve(WideSoftmax(2, 20, FINE, 16, Output(-(2**15), -1000, 1000, "int16")))
