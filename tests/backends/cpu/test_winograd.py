"""Tiles transformed in int16 hold what inputs and weights at their ends make of them."""

import ctypes
import platform
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from kernel_code import COMPILER, Guarded, place

from bevel.backends.cpu.x86 import dots, winograd
from bevel.backends.cpu.x86.dots import Dots
from bevel.backends.program.op import Role
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.target import load
from bevel.backends.tir.builder import build
from bevel.backends.tir.raw_abi import llvm_object
from bevel.calib.arithmetic.requantize import Output

INPUTS = np.array(  # Lavin and Gray 2016, section 4.3
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
     [0, 4, 0, -5, 0, 1]]
)  # fmt: skip
WEIGHTS = np.array([[1, 0, 0], [1, 1, 1], [1, -1, 1], [1, 2, 4], [1, -2, 4], [0, 0, 1]])
CHANNELS = 8
EXTREME = Conv(
    height=6, width=6, channels_in=CHANNELS, channels_out=2 * 36, kernel=(3, 3), strides=(1, 1), dilations=(1, 1),
    pads=(0, 0, 0, 0), groups=1, x_zero_point=0, output=Output(5), batch=2 * 36,
)  # fmt: skip


def at_their_ends(rows: np.ndarray, low: int, high: int) -> np.ndarray:
    """[72, n, n]: what makes each place of a tile as large as it can be, and as small."""
    signs = np.stack([np.outer(one, other) for one, other in product(rows, rows)])
    return np.concatenate([np.where(signs * way > 0, high, low) for way in (1, -1)]).astype(np.int8)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels for x86-64")
def test_inputs_and_weights_at_their_ends_are_exact(tmp_path: Path) -> None:
    x = np.repeat(at_their_ends(INPUTS, -128, 127)[..., np.newaxis], CHANNELS, axis=-1)
    w = np.repeat(at_their_ends(WEIGHTS, -128, 127)[..., np.newaxis], CHANNELS, axis=-1)
    outputs = EXTREME.channels_out
    bias, multiplier = np.arange(outputs, dtype=np.int32) << 22, np.full(outputs, 2**30 + 1, np.int32)
    kernel = Dots(EXTREME, within_25=True)
    assert kernel.winograd is not None
    given = (x, *kernel.packed(w, bias, multiplier, np.full(outputs, 44, np.int8)))
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
    plain = replace(EXTREME, batch=1, height=8, width=8, channels_in=128, channels_out=16)
    constants = (
        np.full((16, 3, 3, 128), weight, np.int8), np.full(16, 2**28, np.int32), np.full(16, 2**30, np.int32),
        np.full(16, 40, np.int8),
    )  # fmt: skip
    special = dots.specialize(Call("node", plain, ("x",), constants, "y"), load("host"))
    assert not isinstance(special, str)
    assert isinstance(special.kernel, Dots)
    assert (special.kernel.winograd is not None) == transformed


def test_transforms_keep_within_16_bits() -> None:
    assert np.abs(INPUTS).sum(axis=1).max() * 8 * 255 < 2**15  # inner sums lie between -8 * 255 and 5 * 255
    assert np.abs(WEIGHTS).sum(axis=1).max() ** 2 * 128 < 2**15
    assert 9 * winograd.NINTH % 2**32 == 1
