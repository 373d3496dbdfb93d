"""Products of two activations for the DSP extension: when they are taken, and which part each factor plays."""

from __future__ import annotations

from typing import Any

import pytest

from bevel.backends import target as targets
from bevel.backends.cortex_m.dsp.mat_mul_dsp import MatMulDsp, specialize
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Role
from bevel.backends.program.ops.mat_mul import MatMul, heads, product
from bevel.backends.program.program import Call
from bevel.calib.arithmetic.requantize import Output

SHARES: dict[str, Any] = {"a_dtype": "int16", "a_zero_point": -(2**15)}


def answer(plain: MatMul, target: str = "cortex-m7") -> Special | str:
    return specialize(Call("node", plain, ("a", "b"), (), "y"), targets.load(target))


@pytest.mark.parametrize(
    "plain",
    [
        product((2,), 5, 64, 3, 0.001),
        product((), 5, 128, 3, 2.0**-20, **SHARES),
        product((), 5, 64, 3, 2.0**-20, b_dtype="int16"),
        product((), 5, 300, 3, 2.0**-20, **SHARES, largest=2**24),
        product((), 5, 64, 3, 2.0**-26, a_dtype="int16", b_dtype="int16", largest=2**28),
        product((), 5, 16, 3, 0.9, output=Output(0, -(2**15), 2**15 - 1, "int16")),
    ],
)
def test_products_whose_sums_fit_a_word_are_taken(plain: MatMul) -> None:
    assert isinstance(answer(plain), Special)
    assert answer(plain, "cortex-m0plus") == "cortex-m0plus has no DSP extension"


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (product((), 5, 300, 3, 2.0**-20, **SHARES), "may pass a word"),
        (product((), 5, 64, 3, 2.0**-26, a_dtype="int16", b_dtype="int16"), "may pass a word"),
        (product((), 5, 2**14, 3, 1.9), "may pass a word"),
        (product((), 5, 64, 3, 1.0, output=Output(0, -(2**28), 2**28, "int32")), "wider than int16"),
        (product((), 5, 64, 3, 0.25, output=Output(even=True)), "on halves"),
    ],
)
def test_others_are_told_why_not(plain: MatMul, reason: str) -> None:
    found = answer(plain)
    assert isinstance(found, str) and reason in found


def test_scratch_holds_the_columns_of_one_matrix_and_two_rows() -> None:
    kernel = MatMulDsp(product((4,), 65, 16, 65, 0.001, a_strides=heads(65, 4, 16)))
    columns, rows = kernel.roles(Role.SCRATCH)
    assert (columns.bytes, rows.bytes) == (17 * (16 + 4 * 32), 2 * 32)
