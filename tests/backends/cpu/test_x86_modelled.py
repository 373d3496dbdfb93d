"""Loops for VNNI on processors without it: their instructions as their manual has them, in plain arithmetic, compiled
for what the target itself has. Tiles, packing and rescaling are those of the level."""

import ctypes
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_code import COMPILER, Guarded, place

from bevel.backends.cpu.levels import AVX512_VNNI, AVX_VNNI
from bevel.backends.cpu.x86 import depthwise, dots, floats, pair_dots
from bevel.backends.cpu.x86.pairs import PairProducts
from bevel.backends.cpu.x86.vectors import Vnni
from bevel.backends.encodings.quads import PAIR, QUAD
from bevel.backends.program.kernel import LeveledKernel
from bevel.backends.program.op import Role
from bevel.backends.target import load
from bevel.backends.tir.builder import build
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.raw_abi import llvm_object
from bevel.backends.vectors.expressions import shuffled

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels for x86-64")
EVERY = 7  # of the cases: what a machine with the instructions has tests all of them
CASES = [case for module in (dots, depthwise, pair_dots) for case in list(module.cases())[::EVERY]]
LEVELS = (AVX512_VNNI.name, AVX_VNNI.name)


def sums_of_products(words: int, size: int, first: str, second: str) -> Callable[[Any, Any, Any], Any]:
    """What adds the products of `size` neighbours of two vectors to each of `words` words, modulo 2**32."""

    def parts(vector: Any, dtype: str) -> list[Any]:
        typed = T.reinterpret(vector, dtype=f"{dtype}x{words * size}")
        return [T.cast(shuffled([typed], range(one, words * size, size)), f"int32x{words}") for one in range(size)]

    def added(total: Any, x: Any, w: Any) -> Any:
        return sum((a * b for a, b in zip(parts(x, first), parts(w, second), strict=True)), total)

    return added


def vpdpbusd(isa: Vnni, total: Any, x: Any, w: Any) -> Any:
    return sums_of_products(isa.words, QUAD, "uint8", "int8")(total, x, w)


def vpdpwssd(isa: PairProducts, total: Any, x: Any, w: Any) -> Any:
    return sums_of_products(isa.words, PAIR, "int16", "int16")(total, x, w)


def packed(a: Any, b: Any, words: int) -> Any:
    """VPACKSSDW and VPACKSSWB: two vectors as one of half the width, saturated, 128 bits by 128 bits."""
    size, lanes = (4, "int16") if str(a.ty).startswith("int32") else (8, "int8")
    limits = np.iinfo(lanes)
    count = words // 4 * size
    source = str(a.ty).partition("x")[0]
    low, high = (T.broadcast(tirx.const(int(one), source), count) for one in (limits.min, limits.max))
    narrow = [T.cast(T.max(T.min(one, high), low), f"{lanes}x{count}") for one in (a, b)]
    return shuffled(narrow, [of * count + lane * size + one
                             for lane in range(words // 4) for of in range(2) for one in range(size)])  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: type(case).__name__)
def test_the_loops_of_a_level_equal_their_reference(
    case: LeveledKernel, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Vnni, "added", vpdpbusd)
    monkeypatch.setattr(PairProducts, "added", vpdpwssd)
    monkeypatch.setattr(floats, "saturated", packed)
    made = llvm_object({"k": build(case, "k", level)}, dict(load("host").llvm or {}))
    (tmp_path / "k.o").write_bytes(made)
    subprocess.run([*COMPILER, "-shared", tmp_path / "k.o", "-o", tmp_path / "k.so"], check=True)
    given = case.example(np.random.default_rng(0))
    placed: list[Guarded] = place(case, given)
    ctypes.CDLL(str(tmp_path / "k.so")).k(*(operand.pointer for operand in placed))
    assert all(operand.guards_hold() for operand in placed)
    output = [operand.role for operand in case.operands()].index(Role.OUTPUT)
    np.testing.assert_array_equal(placed[output].array, case.reference(*given))
