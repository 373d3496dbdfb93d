"""Add and Sub of two tensors of one shape on cores with the DSP extension: six instructions an element.

SSAT shifts and clamps at once, as long as the zero point is added before the shift:

    (total >> shift) + zero_point == (total + (zero_point << shift)) >> shift        while nothing overflows

so that an element costs two loads, two MLA, one SSAT and one store. Loading four bytes at once would not be cheaper:
taking them apart costs an instruction each, as loading them one by one does. Of int16, sums are of 64 bits: two SMLAL,
and two instructions to shift them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.dsp import HEADER, call, clamped
from bevel.backends.program.kernel import Kernel, Special, Unpacked
from bevel.backends.program.ops.add import Add, wide_cases
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.calib.arithmetic.requantize import Output

UNROLLED = 16
WIDE_UNROLLED = 4
MOST_SHIFT = 31  # of SSAT's operand


@dataclass(frozen=True)
class AddDsp(Unpacked):
    """The operands and results of `plain`, whose inputs have the output's shape."""

    rates: ClassVar[Rates] = Rates(input=3.16, call=10, code=390)

    plain: Add
    unrolled: int = UNROLLED

    @property
    def header(self) -> str:
        return HEADER

    def variants(self) -> Iterable[Kernel]:
        """Other numbers of elements in the loop's body."""
        return (AddDsp(self.plain, unrolled) for unrolled in (4, 8, 32))

    def build(self, name: str) -> Any:
        p, output = self.plain, self.plain.output
        a_multiplier, b_multiplier = p.a_multiplier, p.b_multiplier
        offset, shift = p.offset + (output.zero_point << p.shift), p.shift

        @T.macro
        def add_one(A, B, Y, i):
            with_b = T.meta_var(call("mla", T.cast(B[i], "int32"), b_multiplier, offset))
            total = T.meta_var(call("mla", T.cast(A[i], "int32"), a_multiplier, with_b))
            Y[i] = clamped(call("ssat8_shifted", total, shift), output)

        return element_by_element(p, name, self.unrolled, add_one)


@dataclass(frozen=True)
class AddWideDsp(Unpacked):
    """The operands and results of `plain`, whose inputs have the output's shape and which is of int16 somewhere."""

    rates: ClassVar[Rates] = Rates(input=8.2, call=20, code=200)

    plain: Add

    @property
    def header(self) -> str:
        return HEADER

    def build(self, name: str) -> Any:
        p, output, y_dtype = self.plain, self.plain.output, self.plain.output.dtype
        limits = np.iinfo(y_dtype)
        offset, saturate = T.int64(p.offset + (output.zero_point << p.shift)), f"ssat{limits.bits}"

        @T.macro
        def add_one(A, B, Y, i):
            a, b = T.meta_var((T.cast(A[i], "int32"), T.cast(B[i], "int32")))
            total = T.meta_var(call("wide_sum", a, p.a_multiplier, b, p.b_multiplier, offset, p.shift))
            held = T.meta_var(call(saturate, total))
            above = T.meta_var(T.max(held, output.low) if output.low > limits.min else held)
            Y[i] = T.cast(T.min(above, output.high) if output.high < limits.max else above, y_dtype)

        return element_by_element(p, name, WIDE_UNROLLED, add_one)


def element_by_element(plain: Add, name: str, most: int, add_one: Any) -> Any:
    """The function whose loop does `most` elements at a time by `add_one`, a macro (A, B, Y, i)."""
    size, a_dtype, b_dtype, y_dtype = prod(plain.shape), plain.a_dtype, plain.b_dtype, plain.output.dtype
    unrolled = min(most, size)
    whole = size // unrolled * unrolled

    @T.prim_func(s_tir=True)
    def add(A: T.Buffer((size,), a_dtype), B: T.Buffer((size,), b_dtype), Y: T.Buffer((size,), y_dtype)):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for step in T.serial(size // unrolled):
            for u in T.unroll(unrolled):
                add_one(A, B, Y, step * unrolled + u)
        for rest in T.serial(size - whole):
            add_one(A, B, Y, whole + rest)

    return add


def specialize(call: Call, target: Target) -> Special | str:
    """Sums of two tensors of the same shape, on targets with the DSP extension."""
    plain = call.kernel
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    if not isinstance(plain, Add) or not plain.a_shape == plain.b_shape == plain.shape:
        return "not an addition of two tensors of one shape"
    if plain.sum_dtype != "int32":
        return too_wide(plain) or Special(AddWideDsp(plain), call.constants)
    if plain.shift > MOST_SHIFT:
        return f"a shift of {plain.shift} does not fit SSAT"
    if largest_total(plain) >= 2**31:
        return "with the zero point, the sum before its shift may leave 32 bits"
    return Special(AddDsp(plain), call.constants)


def too_wide(plain: Add) -> str | None:
    """Why a sum of 64 bits may leave them, or not be a word once it is shifted."""
    dtypes = (plain.a_dtype, plain.b_dtype, plain.output.dtype)
    if not set(dtypes) <= {"int8", "int16"}:
        return "its integers are wider than int16"
    if not plain.fits_word:
        return "its sums, shifted, may leave a word"
    return None if largest_total(plain) < 2**63 else "its zero point, added before the shift, would leave 64 bits"


def largest_total(plain: Add) -> int:
    """No sum with the zero point in it is further from zero."""
    return plain.reach + (abs(plain.output.zero_point) << plain.shift)


def cases() -> Iterable[AddDsp | AddWideDsp]:
    def add(shape: tuple[int, ...], **changes: Any) -> AddDsp:
        scaled: dict[str, Any] = {"a_multiplier": 700_001, "b_multiplier": 523_456, "shift": 20, "output": Output(-7)}
        scaled |= {"offset": 2**19 + 128 * 700_001} | changes
        return AddDsp(Add(shape, shape, shape, **scaled))

    yield from (AddWideDsp(one) for one in wide_cases() if one.a_shape == one.b_shape and too_wide(one) is None)
    yield add((1,))
    yield add((2, 5, 3, 7))
    yield add((1, 64), b_multiplier=-999_999, output=Output(zero_point=127))
    yield add((1, 8, 8, 16), a_multiplier=1_910_742, b_multiplier=660_330, offset=75_492_818, output=Output(-128))
    yield add((3, 41), a_multiplier=-3, b_multiplier=2, offset=1, shift=1, output=Output(3, -50, 60))
    yield add((12,), a_multiplier=1, b_multiplier=-1, offset=0, shift=0)
    yield add((17,), a_multiplier=2**22, b_multiplier=2**22, offset=2**29, shift=31, output=Output(0))
