"""64-bit RISC-V: objects of LLVM's link with those of C compilers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevel.backends.binary import elf
from bevel.backends.binary.toolchain import Preference, for_target
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.target import load
from bevel.backends.tir.builder import build as build_function
from bevel.backends.tir.raw_abi import llvm_object
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.errors import UserError

FLOAT_ABI = 0x6  # of e_flags: where floats are passed. RISC-V ELF psABI, "File Header"
DOUBLE = 0x4


@pytest.mark.parametrize("name", ["riscv64-linux", "rv64gcv"])
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_kernels_pass_floats_as_the_c_compilers_do(name: str, compiler: Preference, tmp_path: Path) -> None:
    target = load(name)
    try:
        tools = for_target(target, compiler)
    except UserError as error:
        pytest.skip(str(error))
    (tmp_path / "c.c").write_text("double twice(double x) { return 2 * x; }")
    kernel = build_function(Gemm(rows=1, k=16, n=16, output=Output()), "k")
    (tmp_path / "k.o").write_bytes(llvm_object({"k": kernel}, dict(target.llvm or {})))
    objects = (tools.compile("c.c", tmp_path), "k.o")
    assert [flags_of(tmp_path / one) & FLOAT_ABI for one in objects] == [DOUBLE, DOUBLE]


def flags_of(path: Path) -> int:
    return elf.read(path).header[6]
