"""Every case of every kernel for x86 equals its reference bit for bit, at each level that this machine has, and the C
that chooses among the levels is strict and calls the one that the processor has."""

import ctypes
import platform
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_code import COMPILER, Guarded, place

from bevel.backends.backend import Kernels
from bevel.backends.binary.c.bundle import prototype
from bevel.backends.cpu import x86
from bevel.backends.cpu.dispatch import at_levels, with_base
from bevel.backends.cpu.levels import AMX_INT8, LEVELS, PROCESSOR
from bevel.backends.cpu.x86 import dots
from bevel.backends.cpu.x86.dots import Dots
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array, Op, Role
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.select.specialize import specialized
from bevel.backends.target import Target, load
from bevel.backends.tir.builder import build
from bevel.backends.tir.raw_abi import llvm_object
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.errors import UserError
from kernel_cases import cases, modules

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels for x86-64")
CASES = cases(x86)
OWN = "own"  # what the target itself has
AMX_REQUEST = (158, 0x1023, 18)  # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)


def label(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else type(value).__name__


@pytest.fixture(scope="module")
def host() -> Target:
    return load("host")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, host: Target) -> Callable[[str, str], ctypes.CDLL]:
    folder = tmp_path_factory.mktemp("x86")

    @cache
    def made(module: str, level: str) -> ctypes.CDLL:
        several = [one for one in CASES if one[0] == module]
        wanted = None if level == OWN else level
        functions = {f"k{index}": build(case, f"k{index}", wanted) for _, index, case in several if has(case, level)}
        aliasing = frozenset(f"k{index}" for _, index, case in several if case.in_place)
        path = folder / f"{module}_{level}"
        path.with_suffix(".o").write_bytes(llvm_object(functions, llvm_target(host, level), aliasing))
        subprocess.run([*COMPILER, "-shared", path.with_suffix(".o"), "-o", path.with_suffix(".so")], check=True)
        return ctypes.CDLL(str(path.with_suffix(".so")))

    return made


def llvm_target(host: Target, level: str) -> dict[str, Any]:
    return dict(host.llvm or {}) if level == OWN else LEVELS[level].llvm(host.llvm or {})


def has(case: Op, level: str) -> bool:
    return level == OWN or (isinstance(case, Kernel) and level in case.levels)


def run(function: Any, case: Op, given: tuple[Array, ...], over_input: bool = False) -> Array:
    placed: list[Guarded] = place(case, given)
    output = [operand.role for operand in case.operands()].index(Role.OUTPUT)
    if over_input:
        placed[output] = placed[0]
    function(*(operand.pointer for operand in placed))
    assert all(operand.guards_hold() for operand in placed)
    return placed[output].array


EACH = [(level, *one) for level in (OWN, *LEVELS) for one in CASES if has(one[2], level)]


@pytest.mark.parametrize(("level", "module", "index", "case"), EACH, ids=label)
def test_a_kernel_equals_its_reference(
    module: str, index: int, case: Op, level: str, library: Callable[[str, str], ctypes.CDLL]
) -> None:
    if level != OWN and not LEVELS[level].here():
        pytest.skip(f"this processor has no {level}")
    if level == AMX_INT8.name:
        assert ctypes.CDLL(None).syscall(*AMX_REQUEST) == 0
    function = getattr(library(module, level), f"k{index}")
    for seed in range(3):
        given = case.example(np.random.default_rng(seed))
        expected = case.reference(*given)
        np.testing.assert_array_equal(run(function, case, given), expected)
        if case.in_place:
            np.testing.assert_array_equal(run(function, case, given, over_input=True), expected)


def test_every_kernel_has_cases() -> None:
    kinds = {
        kind
        for module in modules(x86)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Kernel) and not kind.__abstractmethods__
        if kind.__module__.startswith(x86.__name__)
    }
    assert kinds == {type(case) for _, _, case in CASES}


LARGE = Dots(Gemm(rows=50, k=130, n=70, output=Output(3)))  # has loops for every level
SMALL = Dots(Gemm(rows=2, k=9, n=20, output=Output(3)))  # has none for AMX


@pytest.mark.parametrize("case", [LARGE, SMALL], ids=["large", "small"])
@pytest.mark.parametrize("level", [OWN, *LEVELS])
def test_the_best_level_that_the_processor_has_is_called(level: str, case: Dots, host: Target, tmp_path: Path) -> None:
    """On processors that have `level` and what comes after it. Each level's loops are replaced by loops that add a
    number of their own to the output's zero point."""
    here = [*LEVELS, OWN][[*LEVELS, OWN].index(level) :]
    wanted = next(name for name in here if has(case, name))
    if wanted != OWN and not LEVELS[wanted].here():
        pytest.skip(f"this processor has no {wanted}")
    code = Kernels("m", {"m_gemm_0": case}, frozenset(), {})
    assert set(with_base(code, host).kernels) == {"m_gemm_0_base"}
    sources = list(at_levels(code, host, lambda step: None))
    assert [one.file for one in sources] == [*(f"m_kernels_{name}.o" for name in case.levels), "m_dispatch.c"]
    (tmp_path / "m_kernels.h").write_text(f"#include <stdint.h>\n{prototype('m_gemm_0', case)}\n")
    shifts = {name: 10 * place for place, name in enumerate([*case.levels, OWN], 1)}
    objects = []
    for name, shift in shifts.items():
        moved = replace(case, plain=replace(case.plain, output=Output(3 + shift)))
        symbol = f"m_gemm_0_{'base' if name == OWN else name}"
        function = build(moved, symbol, None if name == OWN else name)
        objects.append(str(tmp_path / f"{name}.o"))
        Path(objects[-1]).write_bytes(llvm_object({symbol: function}, llvm_target(host, name)))
    text = str(sources[-1].content)
    for name, one in LEVELS.items():
        if name in case.levels:
            assert text.count(f"({one.test} ? ") == 1
            text = text if name in here else text.replace(f"({one.test} ? ", "(0 ? ")
    (tmp_path / "m_dispatch.c").write_text(text)
    warnings = ["-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
    command = [*COMPILER, "-O2", *warnings, "-shared", "-fPIC", "m_dispatch.c", *objects, "-o", "m.so"]
    subprocess.run(command, check=True, cwd=tmp_path)
    given = case.example(np.random.default_rng(0))
    expected = replace(case.plain, output=Output(3 + shifts[wanted]))
    found = run(ctypes.CDLL(str(tmp_path / "m.so")).m_gemm_0, case, given)
    np.testing.assert_array_equal(found, expected.reference(given[0], *case.unpacked(*given[1:])))


def test_a_library_has_loops_for_the_sets_that_its_user_names(host: Target) -> None:
    code = Kernels("m", {"m_gemm_0": LARGE}, frozenset(), {})
    assert host.levels == (*LEVELS, "avx2")

    def files(isa: str) -> list[str]:
        return [one.file for one in at_levels(code, host.with_levels(isa), lambda step: None)]

    assert files("avxvnni") == ["m_kernels_avxvnni.o", "m_dispatch.c"]
    assert files("avx2, amxint8") == ["m_kernels_amxint8.o", "m_dispatch.c"]
    assert files("avx2") == []
    assert set(with_base(code, host.with_levels("avx2")).kernels) == {"m_gemm_0"}
    with pytest.raises(UserError, match="no instruction set 'sse9' of target host; there are: amxint8, avx512vnni"):
        host.with_levels("avx2,sse9")
    with pytest.raises(UserError, match="of target cortex-m4; there are: none to choose from"):
        load("cortex-m4").with_levels("avx2")


def test_the_processor_has_what_linux_says(host: Target, tmp_path: Path) -> None:
    lines = [f'  printf("%d", {one.test});' for one in LEVELS.values()]
    source = "\n".join(["#include <stdio.h>", PROCESSOR, "int main(void) {", *lines, "  return 0;", "}"])
    (tmp_path / "has.c").write_text(source)
    subprocess.run([*COMPILER, "-std=gnu11", "has.c", "-o", "has"], check=True, cwd=tmp_path)
    found = subprocess.run([tmp_path / "has"], check=True, capture_output=True, text=True).stdout
    assert found == "".join(f"{one.here():d}" for one in LEVELS.values())


def call_of(plain: Op, *constants: Array) -> Call:
    return Call("node", plain, ("x",), constants, "y")


def test_results_that_leave_32_bits_before_their_clamp_keep_the_plain_loops(host: Target) -> None:
    plain = Gemm(rows=64, k=64, n=64, output=Output())
    w, bias = np.full((64, 64), 127, np.int8), np.zeros(64, np.int32)
    multiplier, shift = np.full(64, 2**30, np.int32), np.full(64, 10, np.int8)
    call = specialized(call_of(plain, w, bias, multiplier, shift), host)
    assert not isinstance(call.kernel, Dots)
    assert {one.rule: one.answer for one in call.asked}["dots"] == "a result before its clamp may leave 32 bits"
    assert isinstance(specialized(call_of(plain, w, bias, multiplier, shift + 20), host).kernel, Dots)


@pytest.mark.parametrize("target", ["cortex-a76", "rv32imc"])
def test_other_machines_have_other_kernels(target: str) -> None:
    plain = Gemm(rows=1, k=4, n=2, output=Output())
    call = call_of(plain, *plain.example(np.random.default_rng(0))[1:])
    assert not isinstance(specialized(call, load(target)).kernel, Dots)
    assert dots.specialize(call, load(target)) == f"{target} is no x86-64 with AVX2"
