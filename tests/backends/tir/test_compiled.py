"""Kernels from the cache are the kernels that were made."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevel.backends.process import cache
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.tir import compiled
from bevel.backends.tir.builder import build
from bevel.backends.tir.raw_abi import c_source, llvm_object
from bevel.calib.arithmetic.requantize import Output

X86 = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3"}
KERNELS: dict[str, Kernel] = {
    "add": Add((64,), (64,), (64,), 3, 5, 8, 4, Output()),
    "gemm": Gemm(rows=1, k=16, n=4, output=Output()),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "entries", lambda: tmp_path / "cache")
    return tmp_path


@pytest.mark.parametrize("aliasing", [frozenset(), frozenset({"add"})], ids=["apart", "in place"])
def test_source_and_object_are_those_of_the_code_generator(aliasing: frozenset[str]) -> None:
    built = {name: build(kernel, name) for name, kernel in KERNELS.items()}
    for _ in range(2):
        assert compiled.kernels_source(KERNELS, aliasing, []) == c_source(built, aliasing, [])
        assert compiled.kernels_object(KERNELS, X86, aliasing) == llvm_object(built, X86, aliasing)


def test_another_shape_name_or_aliasing_is_another_source() -> None:
    first = compiled.kernels_source(KERNELS, frozenset(), [])
    wider = KERNELS | {"gemm": Gemm(rows=1, k=16, n=5, output=Output())}
    renamed = {f"{name}_2": kernel for name, kernel in KERNELS.items()}
    others = [compiled.kernels_source(kernels, frozenset(), []) for kernels in (wider, renamed)]
    others.append(compiled.kernels_source(KERNELS, frozenset({"add"}), []))
    assert len({first, *others}) == 4
