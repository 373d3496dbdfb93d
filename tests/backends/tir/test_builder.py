"""An operator is two files, found where they lie: what it is in `program/ops/`, its plain loops in `tir/kernels/`."""

from __future__ import annotations

import ctypes
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bevel.backends.binary.toolchain import C_FLAGS
from bevel.backends.program import ops
from bevel.backends.program.bounds import with_bounds
from bevel.backends.program.memory import plan
from bevel.backends.program.op import Op, Role
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.tir import kernels
from bevel.backends.tir.builder import NoLoopsError, build, loops
from bevel.backends.tir.raw_abi import c_source
from kernel_cases import cases

NAME = "halve_and_add"
OPERATOR = '''
"""y = (a >> 1) + (b >> 1)"""
from dataclasses import dataclass
from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Op, activation, output

@dataclass(frozen=True)
class HalveAndAdd(Op):
    size: int

    def operands(self):
        return activation("a", (self.size,)), activation("b", (self.size,)), output("y", (self.size,))

    def reference(self, *arrays):
        a, b = arrays
        return (a >> 1) + (b >> 1)

    def example(self, rng):
        return random_values(rng, (self.size,), "int8"), random_values(rng, (self.size,), "int8")

def cases():
    yield HalveAndAdd(1)
    yield HalveAndAdd(37)
'''
LOOPS = """
from tvm import te

def build(op, name):
    a, b = (te.placeholder((op.size,), "int8", name) for name in "ab")
    y = te.compute((op.size,), lambda i: (a[i] >> 1) + (b[i] >> 1), "y")
    return te.create_prim_func([a, b, y]).with_attr("global_symbol", name)
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of operators and one of loops more, as if they were a part of ours."""
    for room, package in (("ops", ops), ("kernels", kernels)):
        (tmp_path / room).mkdir()
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / room)])
    (tmp_path / "ops" / f"{NAME}.py").write_text(OPERATOR)
    importlib.invalidate_caches()
    loops.cache_clear()
    yield tmp_path
    loops.cache_clear()
    for package in (ops, kernels):
        sys.modules.pop(f"{package.__name__}.{NAME}", None)
        if hasattr(package, NAME):
            delattr(package, NAME)


def operator() -> ModuleType:
    return importlib.import_module(f"{ops.__name__}.{NAME}")


def test_two_files_are_enough(added: Path) -> None:
    (added / "kernels" / f"{NAME}.py").write_text(LOOPS)
    found = [case for name, _, case in cases(ops) if name == NAME]
    assert [type(case).__name__ for case in found] == ["HalveAndAdd"] * 2
    for case in found:
        given = case.example(np.random.default_rng(0))
        np.testing.assert_array_equal(compiled(case, added, *given), case.reference(*given))


def compiled(case: Op, folder: Path, *given: np.ndarray) -> np.ndarray:
    """What its loops compute, as C."""
    (folder / "k.c").write_text(c_source({"k": build(case, "k")}))
    command = [sys.executable, "-m", "ziglang", "cc", *C_FLAGS, "-shared", "-fPIC", "k.c", "-o", f"k{given[0].size}.so"]
    subprocess.run(command, cwd=folder, check=True)
    (result,) = case.roles(Role.OUTPUT)
    y = np.zeros(result.shape, result.dtype)
    library = ctypes.CDLL(str(folder / f"k{given[0].size}.so"))
    library.k(*(ctypes.c_void_p(array.ctypes.data) for array in (*given, y)))
    return y


def test_it_has_bounds_and_a_place_in_a_program_without_another_line(added: Path) -> None:
    case = operator().HalveAndAdd(8)
    buffers = {name: Buffer(name, (8,), "int8") for name in "xyz"}
    calls = (Call("first", case, ("x", "x"), (), "y"), Call("second", case, ("y", "x"), (), "z"))
    ports = tuple((Port(name, name, (8,), "int8"),) for name in "xz")
    program = Program("p", *ports, buffers, calls)
    assert with_bounds(program).calls[1].input_bounds == ((-128, 127), (-128, 127))
    assert plan(program).arena_bytes >= 24
    x = np.arange(-4, 4, dtype=np.int8) * 16
    np.testing.assert_array_equal(program.run({"x": x})["z"], (x >> 1) + (x >> 1))


def test_an_operator_without_loops_is_named(added: Path) -> None:
    with pytest.raises(NoLoopsError, match=r"HalveAndAdd has no loops: no file .*kernels\.halve_and_add"):
        build(operator().HalveAndAdd(4), "f")
