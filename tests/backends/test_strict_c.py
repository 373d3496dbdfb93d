"""Generated C under the flags of a firmware team: no warning from any compiler, on any core; headers in C++, too."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from itertools import groupby, islice, product
from pathlib import Path

import pytest

from bevel.backends.binary import elf
from bevel.backends.binary.c.bundle import bundle
from bevel.backends.binary.c.headers import header_text, header_texts
from bevel.backends.binary.toolchain import find
from bevel.backends.build import build
from bevel.backends.program import memory
from bevel.backends.program.conversions import outside
from bevel.backends.program.kernel import header_of
from bevel.backends.program.op import Op
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.target import load
from bevel.backends.tir.builder import build as build_tir
from bevel.backends.tir.raw_abi import c_source
from kernel_cases import ALL

WARNINGS = ["all", "extra", "conversion", "pedantic", "missing-prototypes", "shadow", "shift-negative-value", "error"]
STRICT = (*(f"-W{name}" for name in WARNINGS), "-O2", "-fno-strict-aliasing", "-c")
CASES = 2  # of each kernel: code differs little between them
CLANG = {
    "cortex-m4": "--target=thumbv7em-none-eabihf -mcpu=cortex-m4",
    "cortex-m55": "--target=thumbv8.1m.main-none-eabihf -mcpu=cortex-m55",
}


def compilers(core: str) -> Iterator[tuple[str, ...]]:
    """The compilers here that make code for `core`; zig, which is a clang, where there is no other."""
    tools = {one.kind: found for one in load(core).compilers if (found := find(one, bare=True)) is not None}
    clang = shutil.which("clang") is not None and core in CLANG
    if clang:
        yield ("clang", *CLANG[core].split(), "-ffreestanding")
    for kind, found in tools.items():
        if kind == "gcc" or not clang:
            yield (*found.command, *found.flags)


def with_helpers() -> dict[str, Op]:
    """Kernels that call a core's own instructions."""
    found = {}
    for module, several in groupby(ALL, key=lambda case: case[0]):
        cases = (case for _, _, case in several if header_of(case) is not None)
        found |= {f"{module}_{index}": case for index, case in enumerate(islice(cases, CASES))}
    return found


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one C file for each header of helpers."""
    folder = tmp_path_factory.mktemp("sources")
    by_header: dict[str, dict[str, Op]] = {}
    for name, kernel in with_helpers().items():
        by_header.setdefault(str(header_of(kernel)), {})[name] = kernel
    for header, cases in by_header.items():
        (folder / header).write_text(header_texts(cases.values())[header])
        text = c_source({name: build_tir(case, name) for name, case in cases.items()}, headers=[header])
        (folder / header).with_suffix(".c").write_text(text)
    return folder


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_kernels_of_a_cores_own_instructions_compile_without_a_warning(core: str, sources: Path) -> None:
    names = sorted(path.name for path in sources.glob("bevel_*.c"))
    fitting = [name for name in names if core == "cortex-m55" or "mve" not in name]
    found = list(compilers(core))
    for command, name in product(found, fitting):
        words = [*command, "-std=c11", *STRICT, name, "-o", "strict.o"]
        done = subprocess.run(words, cwd=sources, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:2000]
    if not found:
        pytest.skip(f"no compiler for {core}")


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_headers_of_a_core_go_into_one_file_without_a_warning(core: str, tmp_path: Path) -> None:
    """As they do in a network with layers of several formats."""
    here = files("bevel.backends.cortex_m").joinpath("c")
    names = sorted(one.name for one in here.iterdir() if one.name.endswith(".h"))
    fitting = [name for name in names if core == "cortex-m55" or "mve" not in name]
    for name in fitting:
        (tmp_path / name).write_text(header_text(name, "bevel.backends.cortex_m"))
    (tmp_path / "all.c").write_text("".join(f'#include "{name}"\n' for name in fitting) + "extern int one;\n")
    found = list(compilers(core))
    for command in found:
        words = [*command, "-std=c11", *STRICT, "all.c", "-o", "all.o"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:2000]
    if not found:
        pytest.skip(f"no compiler for {core}")


def small_program(widths: tuple[int, ...] = ()) -> Program:
    size = 70
    calls = (
        Call("quantize", Quantize(size, 0.5, 3), ("x",), (), "q"),
        Call("clip", Clip(size, -90, 90), ("q",), (), "c"),
        Call("dequantize", Dequantize(size, 0.5, 3), ("c",), (), "y"),
    )
    buffers = {
        name: Buffer(name, (size,), kind)
        for name, kind in zip("xqcy", ("float32", "int8", "int8", "float32"), strict=True)
    }
    ports = (Port("image:0", "x", (1, size), "float32"),), (Port("y", "y", (size,), "float32"),)
    return Program("small", *ports, buffers, calls, widths=widths)


@pytest.mark.parametrize("widths", [(), (8, 4)])
@pytest.mark.parametrize("language", ["c11", "c++17"])
def test_what_surrounds_the_kernels_compiles_without_a_warning(
    language: str, widths: tuple[int, ...], tmp_path: Path
) -> None:
    program = outside(small_program(widths))
    for name, text in bundle(program, memory.plan(program)).texts.items():
        assert "#include <string" not in text  # bare compilers have none
        (tmp_path / name).write_text(text)
    suffix = ".cpp" if language == "c++17" else ".c"
    (tmp_path / f"use{suffix}").write_text('#include "small.h"\n')
    files = [f"use{suffix}"] if language == "c++17" else ["use.c", "small.c", "small_profile.c", "small_weights.c"]
    strict = [flag for flag in STRICT if language == "c11" or flag != "-Wmissing-prototypes"]
    commands = [("gcc", "g++"), ("clang", "clang++")]
    found = [pair[language == "c++17"] for pair in commands if shutil.which(pair[language == "c++17"])]
    for command in found or [f"{sys.executable} -m ziglang {'c++' if language == 'c++17' else 'cc'}"]:
        done = subprocess.run(
            [*command.split(), f"-std={language}", *strict, *files], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[:2000]


def test_a_header_names_shape_version_and_model(tmp_path: Path) -> None:
    program = Program(**(vars(outside(small_program())) | {"sha256": "ab" * 32}))
    header = bundle(program, memory.plan(program)).texts["small.h"]
    for line in (
        "#define SMALL_INPUT_IMAGE_0_RANK 2",
        "#define SMALL_INPUT_IMAGE_0_DIMS {1, 70}",
        "#define SMALL_OUTPUT_Y_DIMS {70}",
        "#define SMALL_BEVEL_VERSION ",
        f'#define SMALL_MODEL_SHA256 "{"ab" * 32}"',
    ):
        assert line in header


def test_a_shared_library_shows_its_api_alone(tmp_path: Path) -> None:
    artifact = build(small_program(), load("host"), tmp_path)
    assert artifact.library is not None
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", tmp_path / artifact.library], capture_output=True, text=True, check=True
    )
    assert [line.split()[-1] for line in listed.stdout.splitlines()] == ["small_run"]


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_zig_and_gcc_agree_on_the_size_of_an_enum(core: str, tmp_path: Path) -> None:
    (tmp_path / "e.c").write_text("enum small { A, B };\nconst int size = sizeof(enum small);\n")
    sizes = set()
    for one in load(core).compilers:
        toolchain = find(one, bare=True)
        if toolchain is not None:
            toolchain.compile("e.c", tmp_path)
            read = elf.read(tmp_path / "e.o")
            section = next(section for section in read.sections if section.name.startswith(".rodata"))
            sizes.add(read.bytes_of(section)[:4])
    assert len(sizes) <= 1
