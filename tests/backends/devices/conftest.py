"""A program of three kernel calls with hand-written kernels, built as firmware for whatever target a test asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.backends.binary import toolchain
from bevel.backends.binary.artifact import Artifact, BuiltCall, Slot
from bevel.backends.binary.c.bundle import bundle
from bevel.backends.binary.toolchain import Preference
from bevel.backends.build import build
from bevel.backends.devices.base import Measurement, Vectors
from bevel.backends.devices.boards import Boards, OnBoard
from bevel.backends.devices.location import Location
from bevel.backends.devices.opencl import OpenCl
from bevel.backends.firmware import build_firmware
from bevel.backends.program import memory
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array, Operand, activation, output
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.resources import Resource, Resources
from bevel.backends.target import Target, load
from bevel.calib.errors import UserError
from bevel.tools.command import devices

SIZE = 24


@dataclass(frozen=True)
class Wave(Kernel):
    """y[i] = 3 x[i] + step, modulo 256: long enough for wide and narrow instructions, loops and IT blocks."""

    step: int

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (SIZE,)), output("y", (SIZE,))

    def reference(self, *arrays: Array) -> Array:
        return (arrays[0].astype(np.int32) * 3 + self.step).astype(np.int8)

    def build(self, name: str) -> Any:
        raise NotImplementedError("compiled from C_SOURCES")

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (rng.integers(-128, 128, SIZE, dtype=np.int8),)


RIGHT = "y[i] = (int8_t)(3 * x[i] + {step});"
# What the second kernel may do besides: things a simulator must refuse, and things it must stand.
EXTRAS = {
    "none": "",
    "bad address": "*(volatile int *)0xF0000000 = 1;",
    "bad instruction": '__asm volatile("udf #7");',
    "write to flash": "*(volatile int *)0x100 = 1;",
    "deep stack": "volatile char deep[40000]; for (int i = 39999; i >= 0; i--) deep[i] = 1;",
    "divide": 'if (x[0] != 99) __asm volatile(".arch armv7-m\\n sdiv r0, r0, r0" ::: "r0");',
    "double": 'if (x[0] != 99) __asm volatile(".fpu fpv5-d16\\n vadd.f64 d0, d0, d0" ::: "d0");',
    "write to constants": "*(volatile int *)(uintptr_t)table = 1;",
    "undefined halfword": '__asm volatile(".half 0");',
    "riscv divide": 'if (x[0] != 99) __asm volatile("div a0, a0, a0" ::: "a0");',
    "riscv float": 'if (x[0] != 99) __asm volatile(".word 0x00007053");',  # fadd.s ft0, ft0, ft0
    "endless": 'for (;;) __asm volatile("nop");',
    "long": "for (volatile int i = 0; i < 600000; i++) {}",
    "600 KB of constants": "y[0] += ((const volatile int8_t *)table)[(x[0] & 1) * 599999] - 7;",
}


def kernel_source(symbol: str, kernel: Wave, extra: str) -> str:
    return f"""
static const int8_t table[600000] __attribute__((aligned(4))) = {{[0] = 7, [599999] = 7}};
void {symbol}(const int8_t *restrict x, int8_t *restrict y) {{
  for (int i = 0; i < {SIZE}; i++) {RIGHT.format(step=kernel.step)}
  {EXTRAS[extra]}
  (void)table;
}}
"""


def tiny_program(name: str = "tiny") -> Program:
    """in -> Wave(1) -> Wave(2) -> Wave(1) -> out: the first and the last call share a kernel."""
    names = ("in", "a", "b", "out")
    calls = tuple(Call(f"node_{i}", Wave(step), (names[i],), (), names[i + 1]) for i, step in enumerate((1, 2, 1)))
    return Program(
        name=name,
        inputs=(Port("input:0", "in", (1, SIZE), "int8", 0.5, 3),),
        outputs=(Port("output/y", "out", (1, SIZE), "int8", 0.25, 0),),
        buffers={buffer: Buffer(buffer, (SIZE,), "int8") for buffer in names},
        calls=calls,
    )


def tiny_vectors(program: Program, count: int, seed: int = 0) -> Vectors:
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-128, 128, (count, 1, SIZE), dtype=np.int8)
    outputs = [program.run({"input:0": sample})["output/y"] for sample in inputs]
    return Vectors({"input:0": inputs}, {"output/y": np.stack(outputs)})


@dataclass(frozen=True)
class Tiny:
    target: Target
    artifact: Artifact
    vectors: Vectors


def build_tiny(folder: Path, target: Target, prefer: Preference, extra: str) -> Tiny:
    program = tiny_program()
    plan = memory.plan(program)
    built = bundle(program, plan)
    vectors = tiny_vectors(program, count=4)
    compiler = toolchain.for_target(target, prefer)
    for name, text in built.texts.items():
        (folder / name).write_text(text)
    for index, (symbol, kernel) in enumerate(built.kernels.items()):
        assert isinstance(kernel, Wave)
        own = extra if index == 1 else "none"
        (folder / f"{symbol}.c").write_text(f"#include <stdint.h>\n{kernel_source(symbol, kernel, own)}")
    objects = [compiler.compile(path.name, folder) for path in sorted(folder.glob("*.c"))]
    info = build_firmware(program, plan, target, compiler, folder, objects, vectors)
    artifact = Artifact(
        model=program.name,
        target=target.name,
        folder=folder,
        files={},
        header="tiny.h",
        library=None,
        archive="",
        firmware=info.elf,
        entry="tiny_run",
        reset=None,
        inputs=tuple(Slot(port, plan.offsets[port.buffer]) for port in program.inputs),
        outputs=tuple(Slot(port, plan.offsets[port.buffer]) for port in program.outputs),
        plan=plan,
        calls=tuple(
            BuiltCall(call.node, symbol, "Wave", 0) for call, symbol in zip(program.calls, built.calls, strict=True)
        ),
        toolchain=compiler.version,
        takes=Resources({"flash": 0, "arena": plan.arena_bytes}),
    )
    return Tiny(target, artifact, vectors)


@pytest.fixture
def clipping(tmp_path: Path) -> Callable[[str], tuple[Artifact, Vectors]]:
    """clipping(target name): a product of one call, and vectors for it."""

    def built(target: str) -> tuple[Artifact, Vectors]:
        size, folder = 70, tmp_path / "product"
        buffers = {name: Buffer(name, (size,), "int8") for name in "xy"}
        ports = (Port("x", "x", (size,), "int8"),), (Port("y", "y", (size,), "int8"),)
        program = Program("one", *ports, buffers, (Call("clip", Clip(size, -50, 50), ("x",), (), "y"),))
        x = np.arange(-size, size, dtype=np.int8).reshape(2, size)
        vectors = Vectors({"x": x}, {"y": np.clip(x, -50, 50)})
        folder.mkdir()
        return build(program, load(target), folder, vectors), vectors

    return built


@pytest.fixture
def board_measures(clipping: Callable[[str], tuple[Artifact, Vectors]]) -> Callable[[str, str], Measurement]:
    """board_measures(target name, --device): what a board says of a product that it computes right, after it was found
    to tell where one is wrong, and to keep nothing."""

    def measured(target: str, address: str) -> Measurement:
        if target == "opencl" and (why := OpenCl(load(target)).missing()):
            pytest.skip(why)
        artifact, vectors = clipping(target)
        chosen, homes = devices.choose(load(target), address), list[Path]()
        assert isinstance(chosen, Boards) and chosen.kind == "board" and chosen.tool().startswith("Linux ")

        def seen(board: Boards, artifact: Artifact, vectors: Vectors, place: Location) -> Measurement:
            assert isinstance(place, OnBoard)
            homes.append(Path(place.home))
            assert homes[-1].is_dir()
            return chosen.measured(board, artifact, vectors, place)

        board = replace(chosen, measured=seen)
        found = board.measure(artifact, vectors)
        wrong = board.measure(artifact, replace(vectors, expected={"y": vectors.inputs["x"]}))
        assert found.mismatches == 0
        if found.kind == "simulator":  # what is no GPU is not timed
            assert target == "opencl" and not found.spent and "time means nothing" in found.tool
        else:
            assert found.spent[Resource.LATENCY] > 0
        assert wrong.mismatches == np.count_nonzero(np.abs(vectors.inputs["x"]) > 50) and not wrong.spent
        assert len(homes) == 2 and not any(home.exists() for home in homes)
        return found

    return measured


@pytest.fixture
def tiny_on(tmp_path: Path) -> Callable[[Target, Preference], Tiny]:
    """tiny_on(target, prefer) builds for a target that no file describes; skips without a compiler."""

    def made(target: Target, prefer: Preference) -> Tiny:
        try:
            toolchain.for_target(target, prefer)
        except UserError as error:
            pytest.skip(str(error))
        return build_tiny(tmp_path, target, prefer, "none")

    return made


@pytest.fixture(scope="session")
def tiny_firmware(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tiny]:
    """tiny_firmware(target name, prefer=, extra=, copy=) builds once for equal arguments; skips without a compiler."""
    built: dict[tuple[Any, ...], Tiny] = {}

    def build(name: str, prefer: Preference = "auto", extra: str = "none", copy: int = 0) -> Tiny:
        target = load(name)
        try:
            kind = toolchain.for_target(target, prefer).kind
        except UserError as error:
            pytest.skip(str(error))
        key = (name, kind, extra, copy)
        if key not in built:
            built[key] = build_tiny(tmp_path_factory.mktemp("tiny"), target, kind, extra)
        return built[key]

    return build
