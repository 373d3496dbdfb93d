"""Helium kernels for a decoder's step: when they are taken, and why not."""

from __future__ import annotations

from typing import Any

import pytest

from bevel.backends import target as targets
from bevel.backends.cortex_m.mve.mat_vec_mve import MatVecMve, kernel_for, specialize
from bevel.backends.program.kernel import Special
from bevel.backends.program.ops.mat_mul import MatMul, product
from bevel.backends.program.program import Call

SHARES: dict[str, Any] = {"a_dtype": "int16", "a_zero_point": -(2**15), "largest": 2**24}


def answer(plain: MatMul, target: str = "cortex-m55") -> Special | str:
    return specialize(Call("node", plain, ("a", "b"), (), "y"), targets.load(target))


@pytest.mark.parametrize(
    "plain",
    [
        product((), 1, 64, 3, 0.001),
        product((), 2, 64, 3, 0.001, b_strides=(1, 64)),
        product((), 1, 4, 3, 0.001, b_strides=(6, 2)),
        product((), 1, 300, 8, 2.0**-20, **SHARES, b_strides=(1, 300)),
    ],
)
def test_one_row_or_two_are_taken_however_the_matrix_lies(plain: MatMul) -> None:
    found = answer(plain)
    assert isinstance(found, Special) and isinstance(found.kernel, MatVecMve)
    assert answer(plain, "cortex-m7") == "cortex-m7 has no Helium"


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (product((), 3, 64, 3, 0.001), "3 rows share the cost"),
        (product((), 1, 4, 3, 0.001, y_strides=(6, 2)), "do not lie side by side"),
        (product((), 1, 8, 3, 0.001, b_strides=(2**13, 1)), "too far apart"),
        (product((), 1, 2**14, 3, 1.9), "may pass a word"),
    ],
)
def test_others_are_told_why_not(plain: MatMul, reason: str) -> None:
    found = answer(plain)
    assert isinstance(found, str) and reason in found


def test_rows_of_small_codes_are_kept_less_their_zero_point() -> None:
    plain = product((), 1, 8, 4, 2.0**-9, a_dtype="int16", a_zero_point=100, b_strides=(1, 8), largest=2**26)
    small, any_ = kernel_for(plain, (-2048, 2047)), kernel_for(plain, None)
    assert isinstance(small, MatVecMve) and small.origin == 100
    assert isinstance(any_, MatVecMve) and any_.origin == 0
