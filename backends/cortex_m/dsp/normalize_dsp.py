"""Normalization of rows for the DSP extension: two squares an instruction, then three products an element, in words.

The loops are in `backends/cortex_m/c/bevel_normalize.h`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from bevel.backends.cortex_m.dsp.dsp import call_void
from bevel.backends.cortex_m.dsp.softmax_dsp import ends_of
from bevel.backends.program.kernel import Special, Unpacked
from bevel.backends.program.ops import normalize
from bevel.backends.program.ops.normalize import Loop, Normalize
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import offset_of
from bevel.calib.arithmetic.normalize import MOST_FRACTION, WORD_BITS, fraction_bits
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class NormalizeDsp(Unpacked):
    """The operands and results of `plain`, whose rows and their factors lie side by side."""

    rates: ClassVar[Rates] = Rates(input=20, code=700)  # of rows of 64

    plain: Normalize

    @property
    def header(self) -> str:
        return "bevel_normalize.h"

    def build(self, name: str) -> Any:
        op = self.plain
        extents, strides, gains = zip(*(op.rows or (Loop(1, 0, 0),)), strict=True)
        helper = f"normalize_{op.x_dtype}_{op.output.dtype}"
        numbers = (op.n, int(op.center), op.zero_point, T.int64(op.epsilon), fraction_bits(op.n) - MOST_FRACTION)
        stored = (op.shift - WORD_BITS, op.output.zero_point, *ends_of(op.output))

        @T.prim_func(s_tir=True)
        def normalize_dsp(
            X: T.Buffer((op.size,), op.x_dtype),
            F: T.Buffer((op.gains,), "int32"),
            B: T.Buffer((op.gains,), "int32"),
            Y: T.Buffer((op.size,), op.output.dtype),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for row in T.grid(*extents):
                place = T.meta_var(offset_of(row, strides))
                gain = T.meta_var(offset_of(row, gains))
                parameters = T.meta_var((T.address_of(F[gain]), T.address_of(B[gain])))
                x, y = T.meta_var((T.address_of(X[place]), T.address_of(Y[place])))
                call_void(helper, y, x, *parameters, *numbers, *stored)

        return normalize_dsp


def specialize(call: Call, target: Target) -> Special | str:
    """Rows side by side, with a factor for each of their elements, on targets with the DSP extension."""
    plain = call.kernel
    if not isinstance(plain, Normalize):
        return "no normalization"
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    return why_not(plain) or Special(NormalizeDsp(plain), call.constants)


def why_not(plain: Normalize) -> str | None:
    if plain.x_dtype not in ("int8", "int16") or plain.output.dtype not in ("int8", "int16"):
        return "its integers are wider than int16"
    beside = plain.columns == (Loop(plain.n, 1, 1),)
    return None if beside else "its rows, or their factors, do not lie side by side"


def cases() -> Iterable[NormalizeDsp]:
    """What the plain operator has, and rows whose squares are few and many."""
    yield from (NormalizeDsp(plain) for plain in normalize.cases() if why_not(plain) is None)
    int16 = Output(-9, -(2**15), 2**15 - 1, "int16")
    for n in (1, 2, 5, 64, 300):
        rows, columns = (Loop(7, n, 0),), (Loop(n, 1, 1),)
        yield NormalizeDsp(Normalize(rows, columns, n, True, -5, 0, 45, int16))
        yield NormalizeDsp(Normalize(rows, columns, n, n == 5, 300, 12, 50, Output(3, -100, 90), "int16"))
