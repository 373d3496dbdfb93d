"""C or LLVM is a kernel's own choice: on a CPU, one with a C header goes into the same library as TVM's objects.

The machine that the kernel is for exists in this test alone: a folder of kernels beside a folder `c`, and a backend
that asks its rules too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.backends import backend
from bevel.backends.backend import Kernels
from bevel.backends.build import build
from bevel.backends.cpu.backend import Cpu
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.host import Host
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.table import Table
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.target import load

SIZE = 100
HEADER = """\
#include <stdint.h>
static inline int32_t bevel_clip_one(int32_t x, int32_t low, int32_t high) {
  return x < low ? low : x > high ? high : x;
}
"""
KERNEL = """\
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from tvm.script import tirx as T


@dataclass(frozen=True)
class ClipC(Kernel):
    rates: ClassVar[Rates] = Rates(input=1e-12, unit=Resource.LATENCY)
    plain: Clip

    @property
    def op(self):
        return self.plain

    @property
    def header(self):
        return "bevel_clip.h"

    def operands(self):
        return self.plain.operands()

    def reference(self, *arrays):
        return self.plain.reference(*arrays)

    def example(self, rng):
        return self.plain.example(rng)

    def build(self, name):
        size, low, high = self.plain.size, self.plain.low, self.plain.high

        @T.prim_func(s_tir=True)
        def clip(X: T.Buffer((size,), "int8"), Y: T.Buffer((size,), "int8")):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for i in range(size):
                Y[i] = T.cast(T.call_pure_extern("int32", "bevel_clip_one", T.cast(X[i], "int32"), low, high), "int8")

        return clip


def specialize(call, target):
    return Special(ClipC(call.kernel), call.constants) if isinstance(call.kernel, Clip) else "not a Clip"
"""


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The folder of rules of a machine whose kernels are C."""
    place = tmp_path / "some_machine"
    for name in ("kernels", "c"):
        (place / name).mkdir(parents=True)
        (place / name / "__init__.py").touch()
    (place / "__init__.py").touch()
    (place / "kernels" / "clip_c.py").write_text(KERNEL)
    (place / "c" / "bevel_clip.h").write_text(HEADER)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield import_module("some_machine.kernels")


@pytest.fixture
def machine(rules: Any, monkeypatch: pytest.MonkeyPatch) -> Cpu:
    found = Cpu((rules,))
    monkeypatch.setattr(backend, "named", lambda name: found)
    return found


def program() -> Program:
    """A table, for which there are plain loops alone, and a Clip."""
    table, clip = Table(SIZE), Clip(SIZE, -20, 30)
    values = np.random.default_rng(0).permutation(256).astype(np.uint8).view(np.int8)
    buffers = {name: Buffer(name, (SIZE,), "int8") for name in "xty"}
    calls = (Call("table", table, ("x",), (values,), "t"), Call("clip", clip, ("t",), (), "y"))
    ports = {name: Port(name, name, (SIZE,), "int8") for name in "xy"}
    return Program("net", (ports["x"],), (ports["y"],), buffers, calls)


def test_each_kernel_goes_its_own_way_into_one_library(machine: Cpu, tmp_path: Path) -> None:
    target = load("host")
    if why := Host(target).missing():
        pytest.skip(why)
    inputs = {"x": np.random.default_rng(1).integers(-128, 128, (3, SIZE)).astype(np.int8)}
    expected = {"y": np.stack([program().run({"x": one})["y"] for one in inputs["x"]])}
    folder = tmp_path / "product"
    folder.mkdir()
    artifact = build(program(), target, folder, Vectors(inputs, expected))
    assert [call.kernel for call in artifact.calls] == ["Table", "ClipC"]
    assert "net_kernels_c.c" in artifact.files and "bevel_clip.h" in artifact.files
    assert "bevel_clip_one" in (folder / "net_kernels_c.c").read_text()
    measured = Host(target, seconds=0.01).measure(artifact, Vectors(inputs, expected))
    assert (measured.mismatches, len(measured.per_call)) == (0, 2)


def test_a_route_is_the_kernels_and_not_the_targets(machine: Cpu) -> None:
    clip_c = import_module("some_machine.kernels.clip_c").ClipC(Clip(SIZE, -20, 30))

    def emitted(target: Any, **kernels: Any) -> list[tuple[str, type]]:
        code = Kernels("net", kernels, frozenset(), {})
        return [(one.file, type(one.content)) for one in machine.emit(code, target, lambda step: None)]

    cpu, bare = load("host"), replace(load("host"), llvm=None)
    c_file, header, made = ("net_kernels.c", str), ("bevel_clip.h", str), ("net_kernels.o", bytes)
    assert emitted(cpu, a=Table(4)) == [made]
    assert emitted(cpu, a=clip_c) == [header, c_file]
    assert emitted(cpu, a=clip_c, b=Table(4)) == [header, ("net_kernels_c.c", str), made]
    assert emitted(bare, a=clip_c, b=Table(4)) == [header, c_file]
