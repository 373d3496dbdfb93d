"""Generated C and objects: plain pointers, no runtime, nothing promised about pointers that is not so."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.backends.binary import elf
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.tir import raw_abi
from bevel.backends.tir.builder import build
from bevel.backends.tir.lazy import T
from bevel.backends.tir.raw_abi import c_source, llvm_object
from bevel.backends.tir.stale_values import computed_anew
from bevel.calib.arithmetic.requantize import Output

X86 = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3"}
AARCH64 = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72"}
FEATURES = ["+m", "+a", "+f", "+d", "+c", "+v"]
RISCV64 = {"kind": "llvm", "mtriple": "riscv64-linux-gnu", "mattr": FEATURES, "mabi": "lp64d"}
EACH = pytest.mark.parametrize("target", [X86, AARCH64, RISCV64], ids=["x86-64", "aarch64", "riscv64"])
CORTEX_M4 = ["-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m4"]


def gemm() -> Any:
    return build(Gemm(rows=1, k=16, n=4, output=Output()), "gemm")


def add() -> Any:
    return build(Add((64,), (64,), (64,), 3, 5, 8, 4, Output()), "add")


def conv() -> Any:
    shape = {"batch": 1, "height": 8, "width": 8, "channels_in": 8, "channels_out": 8, "kernel": (3, 3)}
    window = {"strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 1}
    return build(Conv(**shape, **window, x_zero_point=-128, output=Output()), "conv")


def test_a_function_is_void_over_typed_pointers_const_where_it_only_reads() -> None:
    source = c_source({"add": add()})
    assert "void add(const int8_t* restrict A_p, const int8_t* restrict B_p, int8_t* restrict Y_p) {" in source


def test_a_function_that_may_work_in_place_has_no_restrict_and_the_others_keep_theirs() -> None:
    source = c_source({"add": add(), "gemm": gemm()}, aliasing=frozenset({"add"}))
    assert "void add(const int8_t* A_p, const int8_t* B_p, int8_t* Y_p) {" in source
    assert "const int8_t* restrict W_p" in source


def test_functions_come_in_the_order_given_and_need_two_headers_only() -> None:
    source = c_source({"gemm": gemm(), "add": add()})
    assert source.index("void gemm(") < source.index("void add(")
    assert [line for line in source.splitlines() if line.startswith("#")] == [
        "#include <stdbool.h>",
        "#include <stdint.h>",
    ]


def test_the_inner_loops_index_with_32_bits() -> None:
    loops = [line for line in c_source({"conv": conv()}).splitlines() if line.lstrip().startswith("for")]
    assert loops
    assert all("int32_t" in line for line in loops)


@EACH
def test_an_object_is_the_same_bytes_each_time(target: dict[str, Any]) -> None:
    functions = {"gemm": gemm(), "add": add()}
    assert llvm_object(functions, target) == llvm_object(functions, target)
    assert llvm_object(functions, target) == llvm_object({"gemm": gemm(), "add": add()}, target)


@EACH
def test_an_object_holds_code_and_nothing_of_the_source(target: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "kernels.o"
    path.write_bytes(llvm_object({"gemm": gemm(), "add": add(), "conv": conv()}, target))
    found = elf.read(path)
    assert {"gemm", "add", "conv"} <= {symbol.name for symbol in found.symbols}
    assert not [section.name for section in found.sections if "debug" in section.name]


@EACH
def test_the_code_is_that_with_debug_information(
    target: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    functions, path = {"gemm": gemm(), "add": add(), "conv": conv()}, tmp_path / "kernels.o"

    def code() -> bytes:
        data = llvm_object(functions, target)
        path.write_bytes(data)
        parts = [one for one in elf.read(path).sections if one.name.startswith((".text", ".rodata")) and one.allocated]
        return b"".join(data[one.offset : one.offset + one.size] for one in parts)

    bare = code()
    monkeypatch.setattr(raw_abi, "without_debug", lambda text: text)
    assert bare and code() == bare


@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm to list symbols with")
def test_an_object_needs_no_symbol_of_a_runtime(tmp_path: Path) -> None:
    path = tmp_path / "kernels.o"
    path.write_bytes(llvm_object({"gemm": gemm(), "add": add(), "conv": conv()}, X86))
    undefined = subprocess.run(["nm", "-u", path], check=True, capture_output=True, text=True).stdout.split()
    assert set(undefined) - {"U"} <= {"memcpy", "memset"}


def test_an_object_whose_functions_may_alias_is_compiled_differently() -> None:
    functions = {"add": add()}
    assert llvm_object(functions, X86, frozenset({"add"})) != llvm_object(functions, X86)
    assert llvm_object(functions, X86, frozenset({"another"})) == llvm_object(functions, X86)


def test_the_c_compiles_for_a_bare_cortex_m_without_a_warning(tmp_path: Path) -> None:
    source = tmp_path / "kernels.c"
    source.write_text(c_source({"gemm": gemm(), "add": add(), "conv": conv()}))
    strict = ["-O2", "-std=c99", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-c"]
    command = [sys.executable, "-m", "ziglang", "cc", *CORTEX_M4, *strict, source, "-o", tmp_path / "kernels.o"]
    subprocess.run(command, check=True)


def test_a_maximum_behind_a_store_is_that_of_the_new_value(tmp_path: Path) -> None:
    """TVM takes the variable of the same text again, whatever was stored in between."""

    @T.prim_func(s_tir=True)
    def twice(X: T.Buffer((2,), "int32"), Y: T.Buffer((2,), "int32")):
        T.func_attr({"global_symbol": "twice", "tirx.noalias": True})
        A = T.alloc_buffer((1,), "int32")
        A[0] = X[0] * 3
        Y[0] = T.min(T.max(A[0] + 1, -8), 7)
        A[0] = X[1] * 5
        Y[1] = T.min(T.max(A[0] + 1, -8), 7)

    (tmp_path / "k.c").write_text(c_source({"twice": twice}))
    compiler = ["gcc"] if shutil.which("gcc") else [sys.executable, "-m", "ziglang", "cc"]
    subprocess.run([*compiler, "-O2", "-shared", "-fPIC", tmp_path / "k.c", "-o", tmp_path / "k.so"], check=True)
    x, y = np.array([-1, 1], np.int32), np.zeros(2, np.int32)
    ctypes.CDLL(str(tmp_path / "k.so")).twice(*(ctypes.c_void_p(one.ctypes.data) for one in (x, y)))
    assert y.tolist() == [-2, 6]


def test_only_what_is_read_behind_a_statement_is_computed_again() -> None:
    given = """\
  int32_t v_ = (A[0] + 1);
  int32_t v__1 = (v_) > (-8) ? (v_) : (-8);
  Y[0] = (v__1) < (7) ? (v__1) : (7);
  A[0] = 2;
  Y[1] = (v__1) < (7) ? (v__1) : (7);"""
    assert computed_anew(given).splitlines()[4:] == [
        "  int32_t v__again_1 = (A[0] + 1);",
        "  int32_t v__1_again_2 = (v__again_1) > (-8) ? (v__again_1) : (-8);",
        "  Y[1] = (v__1_again_2) < (7) ? (v__1_again_2) : (7);",
    ]
    assert computed_anew(given).splitlines()[:4] == given.splitlines()[:4]


def test_what_nothing_reads_before_the_next_statement_is_left_out() -> None:
    given = """\
  int32_t v_ = M[0];
  int32_t x = X[0];
  M[0] = (v_) > (x) ? (v_) : (x);"""
    assert computed_anew(given).splitlines() == [
        "  int32_t x = X[0];",
        "  int32_t v__again_1 = M[0];",
        "  M[0] = (v__again_1) > (x) ? (v__again_1) : (x);",
    ]
