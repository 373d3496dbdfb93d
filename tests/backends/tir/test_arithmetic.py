"""The TIR requantization equals the reference at every shift, for accumulators of every size and both signs."""

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm.script import tirx as T

from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.raw_abi import c_source
from bevel.calib.arithmetic.requantize import UPPER_WORD, Output, requantize, rounding_shift_right

INT32 = np.iinfo(np.int32)
SHIFTS = range(1, 63)
OUTPUTS = (Output(), Output(zero_point=-128), Output(zero_point=127, low=-128, high=3))


def accumulators() -> np.ndarray[Any, np.dtype[np.int32]]:
    rng = np.random.default_rng(0)
    powers = [sign * 2**bits + near for bits in range(31) for near in (-1, 0, 1) for sign in (-1, 1)]
    spread = rng.integers(INT32.min, INT32.max, 500, endpoint=True) >> rng.integers(0, 31, 500)
    return np.array([*powers, *spread, INT32.min, INT32.max], np.int32)


def multipliers() -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.array([0, 2**30, 2**30 + 1, 1_518_500_250, 2**31 - 1], np.int32)


def from_memory(
    name: str, count: int, output: Output, rescale: Callable[..., Any] = tir.requantize, dtype: str = "int32"
) -> Any:
    """Multiplier and shift read at run time, as per channel; accumulators of `dtype`."""

    @T.prim_func(s_tir=True)
    def scaled(
        A: T.Buffer((count,), dtype),
        M: T.Buffer((count,), "int32"),
        S: T.Buffer((count,), "int8"),
        Y: T.Buffer((count,), output.dtype),
    ):
        T.func_attr({"global_symbol": name})
        for i in T.serial(count):
            Y[i] = rescale(A[i], M[i], S[i], output)

    return scaled


def from_constants(name: str, count: int, multiplier: int, shift: int, output: Output) -> Any:
    @T.prim_func(s_tir=True)
    def scaled(A: T.Buffer((count,), "int32"), Y: T.Buffer((count,), "int8")):
        T.func_attr({"global_symbol": name})
        for i in T.serial(count):
            Y[i] = tir.requantize(A[i], multiplier, shift, output)

    return scaled


def shifted(name: str, count: int) -> Any:
    @T.prim_func(s_tir=True)
    def shift_right(
        A: T.Buffer((count,), "int64"),
        S: T.Buffer((count,), "int8"),
        Y: T.Buffer((count,), "int64"),
    ):
        T.func_attr({"global_symbol": name})
        for i in T.serial(count):
            Y[i] = tir.rounding_shift_right(A[i], S[i])

    return shift_right


def call(library: ctypes.CDLL, name: str, *arrays: np.ndarray[Any, Any]) -> None:
    getattr(library, name)(*(array.ctypes.data_as(ctypes.c_void_p) for array in arrays))


def compile_c(functions: dict[str, Any], folder: Path) -> ctypes.CDLL:
    compiler = ["gcc"] if shutil.which("gcc") else [sys.executable, "-m", "ziglang", "cc"]
    (folder / "code.c").write_text(c_source(functions))
    subprocess.run([*compiler, "-O2", "-shared", "-fPIC", folder / "code.c", "-o", folder / "code.so"], check=True)
    return ctypes.CDLL(str(folder / "code.so"))


@pytest.fixture(scope="module")
def everything() -> tuple[np.ndarray[Any, Any], ...]:
    grid = np.meshgrid(accumulators(), multipliers(), np.array(SHIFTS, np.int8), indexing="ij")
    return tuple(np.ascontiguousarray(axis.ravel()) for axis in grid)


def test_multipliers_and_shifts_read_from_memory(everything: tuple[np.ndarray[Any, Any], ...], tmp_path: Path) -> None:
    count = everything[0].size
    named = {f"scaled_{which}": output for which, output in enumerate(OUTPUTS)}
    functions = {name: from_memory(name, count, output) for name, output in named.items()}
    library = compile_c(functions, tmp_path)
    for name, output in named.items():
        got = np.zeros(count, np.int8)
        call(library, name, *everything, got)
        np.testing.assert_array_equal(got, requantize(*everything, output))


def test_shifts_of_33_and_more_alone(everything: tuple[np.ndarray[Any, Any], ...], tmp_path: Path) -> None:
    kept = everything[2] >= UPPER_WORD
    count = int(kept.sum())
    given = [np.ascontiguousarray(axis[kept]) for axis in everything]
    library = compile_c({"small": from_memory("small", count, OUTPUTS[0], tir.requantize_small)}, tmp_path)
    got = np.zeros(count, np.int8)
    call(library, "small", *given, got)
    np.testing.assert_array_equal(got, requantize(*given, OUTPUTS[0]))


@pytest.mark.parametrize("output", [Output(-3), Output(0, -(2**15), 2**15 - 1, "int16"), Output(5, 0, 2**20, "int32")])
def test_wide_accumulators_at_every_shift(output: Output, tmp_path: Path) -> None:
    values, bits, shifts = np.meshgrid(accumulators().astype(np.int64), np.arange(1, 32), np.arange(63, dtype=np.int8))
    sums = np.ascontiguousarray((values << np.maximum(30 - bits, 0)).ravel())  # times 2**bits below 2**62
    multipliers = np.ascontiguousarray(((np.int64(1) << np.minimum(bits, 30)) - 1).ravel().astype(np.int32))
    shifts = np.ascontiguousarray(shifts.ravel())
    library = compile_c({"wide": from_memory("wide", sums.size, output, tir.requantize_wide, "int64")}, tmp_path)
    got = np.zeros(sums.size, output.dtype)
    call(library, "wide", sums, multipliers, shifts, got)
    np.testing.assert_array_equal(got, requantize(sums, multipliers, shifts, output))


def test_multipliers_and_shifts_known_when_the_code_is_generated(tmp_path: Path) -> None:
    values = accumulators()
    named = {
        f"scaled_{shift}_{which}": (int(multiplier), shift, OUTPUTS[(shift + which) % len(OUTPUTS)])
        for shift in (1, 2, 15, 30, 31, 32, 33, 34, 35, 47, 61, 62)
        for which, multiplier in enumerate(multipliers())
    }
    library = compile_c({name: from_constants(name, values.size, *given) for name, given in named.items()}, tmp_path)
    for name, (multiplier, shift, output) in named.items():
        got = np.zeros(values.size, np.int8)
        call(library, name, values, got)
        np.testing.assert_array_equal(got, requantize(values, np.array(multiplier), np.array(shift), output))


def test_a_rounding_shift_with_its_amount_read_from_memory(tmp_path: Path) -> None:
    values, shifts = np.meshgrid(accumulators().astype(np.int64) * 2**20, np.arange(63, dtype=np.int8))
    values, shifts = np.ascontiguousarray(values.ravel()), np.ascontiguousarray(shifts.ravel())
    got = np.zeros(values.size, np.int64)
    call(compile_c({"shifted": shifted("shifted", values.size)}, tmp_path), "shifted", values, shifts, got)
    np.testing.assert_array_equal(got, rounding_shift_right(values, shifts))


def narrowed(name: str, count: int, shift: int) -> Any:
    @T.prim_func(s_tir=True)
    def shift_right(A: T.Buffer((count,), "int64"), Y: T.Buffer((count,), "int32")):
        T.func_attr({"global_symbol": name})
        for i in T.serial(count):
            Y[i] = tir.narrowed(A[i], shift)

    return shift_right


def test_a_rounding_shift_to_int32_by_the_upper_word(tmp_path: Path) -> None:
    values = {shift: accumulators().astype(np.int64) << max(shift - 2, 0) for shift in (1, 32, 33, 34, 40)}
    rng = np.random.default_rng(1)
    values |= {shift: rng.integers(-(2**60), 2**60, 4000) for shift in (33, 36, 46, 62)}
    named = {f"narrowed_{shift}": shift for shift in values}
    library = compile_c({name: narrowed(name, values[shift].size, shift) for name, shift in named.items()}, tmp_path)
    for name, shift in named.items():
        got = np.zeros(values[shift].size, np.int32)
        call(library, name, values[shift], got)
        np.testing.assert_array_equal(got, rounding_shift_right(values[shift], shift).astype(np.int32))
