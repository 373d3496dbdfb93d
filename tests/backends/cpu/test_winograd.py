"""Tiles transformed in int16 hold what inputs and weights at their ends make of them."""

import ctypes
import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest
from kernel_code import COMPILER, Guarded, place
from transformed_ends import EXTREME, INPUTS, WEIGHTS, constant_weights, extreme

from bevel.backends.cpu.x86 import dots
from bevel.backends.cpu.x86.dots import Dots
from bevel.backends.program.op import Role
from bevel.backends.program.program import Call
from bevel.backends.target import load
from bevel.backends.tir.builder import build
from bevel.backends.tir.raw_abi import llvm_object
from bevel.backends.vectors import winograd


@pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels for x86-64")
def test_inputs_and_weights_at_their_ends_are_exact(tmp_path: Path) -> None:
    x, *constants = extreme()
    kernel = Dots(EXTREME, within_25=True)
    assert kernel.winograd is not None
    given = (x, *kernel.packed(*constants))
    target = load("host")
    (tmp_path / "k.o").write_bytes(llvm_object({"k": build(kernel, "k", None)}, dict(target.llvm or {})))
    subprocess.run([*COMPILER, "-shared", tmp_path / "k.o", "-o", tmp_path / "k.so"], check=True)
    placed: list[Guarded] = place(kernel, given)
    ctypes.CDLL(str(tmp_path / "k.so")).k(*(operand.pointer for operand in placed))
    (found,) = (
        one.array for one, operand in zip(placed, kernel.operands(), strict=True) if operand.role == Role.OUTPUT
    )
    np.testing.assert_array_equal(found, kernel.reference(*given))
    assert all(operand.guards_hold() for operand in placed)


@pytest.mark.parametrize(("weight", "transformed"), [(114, True), (115, False)])
def test_products_whose_sums_take_more_than_25_bits_stay_as_they_are(weight: int, transformed: bool) -> None:
    """Biases may take them all: channels that are clamped whatever they read have such."""
    plain, constants = constant_weights(128, weight)
    special = dots.specialize(Call("node", plain, ("x",), constants, "y"), load("host"))
    assert not isinstance(special, str)
    assert isinstance(special.kernel, Dots)
    assert (special.kernel.winograd is not None) == transformed


def test_transforms_keep_within_16_bits() -> None:
    assert np.abs(INPUTS).sum(axis=1).max() * 8 * 255 < 2**15  # inner sums lie between -8 * 255 and 5 * 255
    assert np.abs(WEIGHTS).sum(axis=1).max() ** 2 * 128 < 2**15
    assert 9 * winograd.NINTH % 2**32 == 1
