"""Every case of every kernel for RISC-V with vectors, run by QEMU with registers of several lengths, equals its
reference; objects of LLVM's link with those of C compilers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bevel.backends.binary import elf
from bevel.backends.binary.toolchain import Preference, for_target
from bevel.backends.build import BuildOptions, build
from bevel.backends.cpu import riscv
from bevel.backends.cpu.riscv.packed import PackedRvv
from bevel.backends.cpu.riscv.products_rvv import TOGETHER, ProductsRvv
from bevel.backends.devices.qemu_user import QemuUser
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array, Op
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.select.specialize import specialized
from bevel.backends.target import load
from bevel.backends.tir.builder import build as build_function
from bevel.backends.tir.raw_abi import llvm_object
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.errors import UserError
from kernel_cases import cases, modules
from kernel_programs import program_of

FLOAT_ABI = 0x6  # of e_flags: where floats are passed. RISC-V ELF psABI, "File Header"
DOUBLE = 0x4
# The RISC-V Instruction Set Manual, volume I, "V": opcode OP-V, and VWMACC.VX
OF_VECTORS, ONE_OF_VECTORS = 0x7F, 0x57
BY_SCALAR, WIDENED_BY_SCALAR = 0xFC00707F, 0xF4006057

CASES = [(f"{module}_{index}", case) for module, index, case in cases(riscv)]
PART = 32  # kernels of a program: planning the memory of more takes long
SMALL = [(name, case) for name, case in CASES if 0 < case.macs < 600]


def hold_to_references(taken: list[tuple[str, Op]], folder: Path) -> None:
    """With vector registers of the least length, and of more."""
    target = load("rv64gcv")
    if why := QemuUser(target).missing():
        pytest.skip(why)
    try:
        for_target(target)
    except UserError as error:
        pytest.skip(str(error))
    program, vectors = program_of(taken)
    artifact = build(program, target, folder, vectors, BuildOptions())
    core = target.setting("qemu-user", "cpu") or ""
    for length in (128, 256, 512):
        device = QemuUser(replace(target, settings={"qemu-user": {"cpu": core.replace("vlen=128", f"vlen={length}")}}))
        assert f"vlen={length}," in device.core
        measurement = device.measure(artifact, vectors)
        assert (measurement.mismatches, measurement.first_mismatch) == (0, None)


def test_a_core_with_vectors_computes_what_small_references_do(tmp_path: Path) -> None:
    assert {type(case) for _, case in SMALL} == {type(case) for _, case in CASES if case.macs}
    hold_to_references(SMALL, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, len(CASES), PART))
def test_a_core_with_vectors_computes_what_the_references_do(first: int, tmp_path: Path) -> None:
    hold_to_references(CASES[first : first + PART], tmp_path)


def test_every_kernel_has_cases() -> None:
    kinds = {
        kind
        for module in modules(riscv)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Kernel) and not kind.__abstractmethods__
    }
    assert kinds == {type(case) for _, case in CASES}


@pytest.mark.parametrize("case", [case for _, case in CASES if isinstance(case, PackedRvv)], ids=str)
def test_constants_are_unpacked_as_they_were(case: PackedRvv) -> None:
    _, *constants = case.example(np.random.default_rng(0))
    again = case.packed(*case.unpacked(*constants))
    for found, expected in zip(again, constants, strict=True):
        np.testing.assert_array_equal(found, expected)


def call_of(plain: Op, *constants: Array) -> Call:
    return Call("node", plain, ("x",), constants, "y")


def test_machines_without_vectors_keep_the_plain_loops() -> None:
    plain = Gemm(rows=4, k=64, n=32, output=Output())
    call = call_of(plain, *plain.example(np.random.default_rng(0))[1:])
    kinds = {name: type(specialized(call, load(name)).kernel) for name in ("riscv64-linux", "rv64gcv", "cortex-a76")}
    assert kinds["riscv64-linux"] is Gemm and kinds["rv64gcv"] is ProductsRvv
    assert kinds["cortex-a76"] is not ProductsRvv


def test_sums_that_leave_32_bits_when_they_are_shifted_keep_the_plain_loops() -> None:
    plain = Gemm(rows=64, k=64, n=64, output=Output())
    w, bias = np.full((64, 64), 127, np.int8), np.zeros(64, np.int32)
    multiplier, shift = np.full(64, 2**30, np.int32), np.full(64, 21, np.int8)
    target = load("rv64gcv")
    assert not isinstance(specialized(call_of(plain, w, bias, multiplier, shift), target).kernel, ProductsRvv)
    for more, lifted in ((1, True), (11, True), (12, False)):
        found = specialized(call_of(plain, w, bias, multiplier, (shift + more).astype(np.int8)), target)
        assert found.kernel == ProductsRvv(plain, lifted)


def instructions(code: bytes, folder: Path) -> Iterator[int]:
    """Of all functions of an object, those of 16 bits among them."""
    (folder / "k.o").write_bytes(code)
    for section in elf.read(folder / "k.o").sections:
        if not section.name.startswith(".text") or "fp16" in section.name:
            continue
        words = np.frombuffer(code[section.offset : section.offset + section.size], "<u2").astype(int).tolist()
        while words:
            low = words.pop(0)
            yield low | words.pop(0) << 16 if low & 3 == 3 else low


@pytest.mark.parametrize(("rows", "channels", "pixels"), [(3, 32, 3), (6, 16, 6), (1, 32, 1)])
def test_a_product_is_one_instruction_for_all_lanes(rows: int, channels: int, pixels: int, tmp_path: Path) -> None:
    case = ProductsRvv(Gemm(rows=rows, k=64, n=channels, output=Output()))
    code = llvm_object({"k": build_function(case, "k")}, dict(load("rv64gcv").llvm or {}))
    found = list(instructions(code, tmp_path))
    assert sum(one & BY_SCALAR == WIDENED_BY_SCALAR for one in found) == TOGETHER * pixels


def test_code_for_a_core_without_vectors_has_none(tmp_path: Path) -> None:
    kernel = build_function(Gemm(rows=4, k=64, n=32, output=Output()), "k")
    code = {name: llvm_object({"k": kernel}, dict(load(name).llvm or {})) for name in ("riscv64-linux", "rv64gcv")}
    vectors = {
        name: sum(found & OF_VECTORS == ONE_OF_VECTORS for found in instructions(one, tmp_path))
        for name, one in code.items()
    }
    assert vectors["riscv64-linux"] == 0 and vectors["rv64gcv"] > 0


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
