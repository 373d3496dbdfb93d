"""A product by codes is the product by the reals that they stand for, and its sums are rounded once a term."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from kernel_code import COMPILER, place

from bevel.backends.program.ops.mat_mul_n_bits import MatMulNBits
from bevel.backends.tir.builder import build
from bevel.backends.tir.raw_abi import c_source


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("zero", [None, 1])
def test_it_multiplies_by_what_the_codes_stand_for(bits: int, zero: int | None) -> None:
    rng = np.random.default_rng(0)
    op = MatMulNBits(3, 70, 21, bits, 32, zero, bias=True)
    codes, zeros = rng.integers(0, 2**bits, (70, 21)), rng.integers(0, 2**bits, (3, 21))
    scale, bias = rng.random((3, 21)).astype(np.float32), rng.standard_normal(21).astype(np.float32)
    x = rng.standard_normal((3, 70)).astype(np.float32)
    points = np.full_like(zeros, zero) if zero is not None else zeros
    groups = np.arange(70) // 32
    reals = scale.astype(np.float64)[groups] * (codes - points[groups])
    found = op.reference(x, *op.packed(codes, scale, zeros, bias))
    expected = x.astype(np.float64) @ reals + bias
    assert np.abs(found - expected).max() <= 2.0**-24 * 70 * np.abs(expected).max()


def test_a_sum_that_float64_takes_for_a_middle_is_rounded_as_one_instruction_does(tmp_path: Path) -> None:
    """The second group's product is 1 - 2**-40, behind a sum of 2**24 + 2."""
    op = MatMulNBits(1, 2, 1, 8, 1, 0)
    codes, scale = np.ones((2, 1), np.int64), np.float32([[1], [1 - 2.0**-20]])
    given = (np.float32([[2.0**24 + 2, 1 + 2.0**-20]]), *op.packed(codes, scale, None, None))
    assert op.reference(*given) == 2.0**24 + 2
    (tmp_path / "k.c").write_text(c_source({"k": build(op, "k")}, frozenset(), ()))
    subprocess.run([*COMPILER, "-O2", "-shared", "-fPIC", "k.c", "-o", "k.so"], check=True, cwd=tmp_path)
    placed = place(op, given)
    ctypes.CDLL(str(tmp_path / "k.so")).k(*(operand.pointer for operand in placed))
    np.testing.assert_array_equal(placed[-1].array, op.reference(*given))


def test_codes_wider_than_a_byte_and_groups_beyond_the_inputs_are_refused() -> None:
    for bits, group in ((9, 4), (4, 0), (4, 9)):
        with pytest.raises(ValueError, match="codes have 1 to 8 bits"):
            MatMulNBits(1, 8, 8, bits, group, 0)
