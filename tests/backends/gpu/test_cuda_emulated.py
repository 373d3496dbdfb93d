"""CUDA's kernels as C++ on this machine, launched by a mock of its driver: every call equals its reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.toolchain import for_target
from bevel.backends.build import build
from bevel.backends.devices import gpu_product
from bevel.backends.devices.base import DeviceKind, Measurement, Vectors
from bevel.backends.gpu import kernels, nvcc, statics, tensor_kernels
from bevel.backends.program.op import Op
from bevel.backends.program.program import Program
from bevel.backends.target import load
from bevel.backends.tir import rules
from bevel.calib.errors import UserError
from kernel_cases import PLAIN, cases
from kernel_programs import program_of

HERE = Path(__file__).parent
TARGET = "cuda-sm87"
KERNEL = re.compile(r'^extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\(', re.MULTILINE)
CPP = ("-x", "c++", "-std=c++17", "-fpermissive", "-w", "-fwrapv")


@dataclass(frozen=True)
class Emulated:
    """The device that a mock of CUDA's driver is, in `folder`."""

    folder: Path
    name: str = "emulated"
    kind: DeviceKind = "simulator"

    def missing(self) -> None:
        return None

    def tool(self) -> str:
        return "CUDA C as C++"

    def measured(self, program: Program, vectors: Vectors) -> Measurement:
        product = self.folder / "product"
        product.mkdir()
        return self.measure(build(program, load(TARGET), product, vectors), vectors)

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        return gpu_product.measured(self, artifact, vectors, self.environment(artifact), 0.1)

    def environment(self, artifact: Artifact) -> dict[str, str]:
        """What names the mock, and the kernels of `artifact` as C++, which are built."""
        toolchain = for_target(load("host"))
        (self.folder / "cuda.h").touch()
        text = (artifact.folder / f"{artifact.model}_kernels.cu").read_text()
        rows = "".join(f'  {{"{name}", [](void **a) {{ call({name}, a); }}}},\n' for name in KERNEL.findall(text))
        before = (HERE / "emulated_cuda.h").read_text()
        table = f"const struct known kernels[] = {{\n{rows}  {{nullptr, nullptr}}}};\n"
        (self.folder / "kernels.c").write_text(f"{before}\n{text}\n{table}")
        (self.folder / "mock.c").write_bytes((HERE / "mock_cuda.c").read_bytes())
        for name, flags in (("kernels", CPP), ("mock", ())):
            one = toolchain.compile(f"{name}.c", self.folder, (*flags, "-I."))
            toolchain.link([one], f"{name}.so", self.folder, ("-shared", "-ldl"))
        return {
            "BEVEL_CUDA_LIBRARY": f"{self.folder}/mock.so",
            "MOCK_CUDA_KERNELS": f"{self.folder}/kernels.so",
            "MOCK_CUDA_LOG": "log.txt",
            "MOCK_CUDA_POINTERS": "0",
        }


@pytest.fixture
def emulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulated]:
    try:
        for_target(load(TARGET))
    except UserError as error:
        pytest.skip(str(error))
    # What runs is the source: nvcc's machine code of it has a test of its own.
    monkeypatch.setattr(nvcc, "machine_code", lambda source, arch: nvcc.MachineCode(b"\x7fELF", {}))
    yield Emulated(tmp_path)


def named(found: list[tuple[str, int, Op]]) -> list[tuple[str, Op]]:
    return [(f"{module}_{index}", case) for module, index, case in found]


def test_matrices_of_a_warp_compute_what_their_references_do(emulated: Emulated) -> None:
    measured = emulated.measured(*program_of(named(cases(tensor_kernels))))
    assert (measured.mismatches, measured.first_mismatch) == (0, None)
    found = statics.load(emulated.folder / "product", "part")
    assert {call.kernel for call in found} == {"MatrixDots"}


def test_recorded_launches_compute_what_their_references_do(emulated: Emulated) -> None:
    program, vectors = program_of(named(cases(tensor_kernels)))
    (emulated.folder / "product").mkdir()
    artifact = build(program, load(TARGET), emulated.folder / "product", vectors)
    with gpu_product.harness(artifact, emulated.environment(artifact)) as plain:
        got = replace(plain, recorded=True).outputs(vectors)
        assert "graph" in (plain.folder / "log.txt").read_text()
    for name, expected in vectors.expected.items():
        np.testing.assert_array_equal(got[name], expected)


@pytest.mark.long
def test_plain_loops_compute_what_their_references_do(emulated: Emulated) -> None:
    """The last case of each operator, which is the largest."""
    largest = {module: (module, index, case) for module, index, case in [*PLAIN, *cases(rules)]}
    measured = emulated.measured(*program_of(named(list(largest.values()))))
    assert (measured.mismatches, measured.first_mismatch) == (0, None)


@pytest.mark.long
def test_words_compute_what_their_references_do(emulated: Emulated) -> None:
    measured = emulated.measured(*program_of(named(cases(kernels))))
    assert (measured.mismatches, measured.first_mismatch) == (0, None)
