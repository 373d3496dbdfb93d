"""Products of a row or two for the DSP extension: when they are taken, and that they beat packing for one row only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bevel.backends import target as targets
from bevel.backends.cortex_m.dsp.mat_mul_dsp import MatMulDsp
from bevel.backends.cortex_m.dsp.mat_vec_dsp import MatVecDsp, kernel_for, specialize
from bevel.backends.program.kernel import Special
from bevel.backends.program.ops.mat_mul import MatMul, product
from bevel.backends.program.program import Call
from bevel.backends.program.resources import Resource

SHARES: dict[str, Any] = {"a_dtype": "int16", "a_zero_point": -(2**15), "largest": 2**24}


def answer(plain: MatMul, target: str = "cortex-m7") -> Special | str:
    return specialize(Call("node", plain, ("a", "b"), (), "y"), targets.load(target))


@pytest.mark.parametrize(
    "plain",
    [
        product((), 1, 64, 3, 0.001),
        product((), 2, 64, 3, 0.001, b_strides=(1, 64)),
        product((), 1, 300, 8, 2.0**-20, **SHARES),
        product((2, 2), 1, 8, 256, 0.001, b_strides=(8, 0, 1, 32)),
    ],
)
def test_one_row_or_two_are_taken(plain: MatMul) -> None:
    found = answer(plain)
    assert isinstance(found, Special) and isinstance(found.kernel, MatVecDsp)
    assert answer(plain, "cortex-m0plus") == "cortex-m0plus has no DSP extension"


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (product((), 3, 64, 3, 0.001), "3 rows share the cost"),
        (product((), 1, 4, 3, 0.001, b_strides=(6, 2)), "lie side by side"),
        (product((), 1, 300, 8, 2.0**-20, **SHARES, b_strides=(1, 300)), "leaves 16 bits"),
        (product((), 1, 2**14, 3, 1.9), "may pass a word"),
    ],
)
def test_others_are_told_why_not(plain: MatMul, reason: str) -> None:
    found = answer(plain)
    assert isinstance(found, str) and reason in found


def test_rows_of_small_codes_are_widened_less_their_zero_point() -> None:
    plain = product((), 1, 8, 4, 2.0**-9, a_dtype="int16", a_zero_point=100, b_strides=(1, 8), largest=2**26)
    assert isinstance(kernel_for(plain, None), str)
    found = kernel_for(plain, (-2048, 2047))
    assert isinstance(found, MatVecDsp) and (found.origin, found.extra) == (100, 0)


@pytest.mark.parametrize("tokens", [32, 256])
def test_packing_pays_from_a_few_rows_on(tokens: int) -> None:
    one = product((8,), 1, 8, tokens, 0.001, b_strides=(8, 1, 64))
    packed, read = (kernel.estimate()[Resource.INSTRUCTIONS] for kernel in (MatMulDsp(one), MatVecDsp(one, 0)))
    assert read < packed
    many = replace(one, m=tokens, a_strides=(8 * tokens, 8, 1), y_strides=(tokens * tokens, tokens, 1))
    assert MatMulDsp(many).estimate()[Resource.INSTRUCTIONS] < tokens * read
