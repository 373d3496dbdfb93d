"""C compilers: found on the system or taken from the ziglang wheel, and called so that equal input gives equal bytes.

Every command runs inside the folder it works on with relative names, so that no path of this machine gets into an
object; no debug information, build ids or timestamps are written.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal

from bevel.backends.binary import elf, wasm
from bevel.backends.process import processes
from bevel.backends.process.cache import cache_folder, digest, zig_cache
from bevel.backends.process.room import full_disk, some_disk_is_full
from bevel.backends.target import Compiler, Target
from bevel.calib.errors import UserError

Preference = Literal["auto", "gcc", "zig"]

# Generated kernels reuse one arena for values of different types: hence no strict aliasing.
C_FLAGS = (
    "-std=gnu11",
    "-O3",
    "-g0",
    "-fno-ident",
    "-fno-strict-aliasing",
    "-ffunction-sections",
    "-fdata-sections",
    "-ffp-contract=off",
)
BARE_FLAGS = ("-ffreestanding",)
# Each kernel keeps an entry of its own, by which simulators tell calls apart, even where two compile to the same code.
GCC_FLAGS = ("-fno-ipa-icf",)
ZIG = (sys.executable, "-m", "ziglang")
# zig cc means a debug build with undefined-behaviour traps and debug information unless told otherwise.
ZIG_FLAGS = ("-fno-sanitize=all", "-Wno-unused-command-line-argument")

STACK_NOTE = ".note.GNU-stack"
FULL_DISK = ("No space left on device", "NoSpaceLeft", "Disk quota exceeded")  # gcc and binutils; zig


class ToolError(RuntimeError):
    """A tool rejected what we generated: our bug. Holds the command and all that it printed."""


@dataclass(frozen=True)
class Toolchain:
    """A compiler for one target. `flags` choose the machine and go into every command."""

    kind: Literal["gcc", "zig"]
    command: tuple[str, ...]
    archiver: tuple[str, ...]
    version: str
    flags: tuple[str, ...]

    def compile(self, source: str, folder: Path, extra: Sequence[str] = ()) -> str:
        """Compile `folder`/`source` (C or assembly) and return the object's name, beside it.

        Raises ToolError with the compiler's words, UserError when the disk is full.
        """
        name = str(Path(source).with_suffix(".o"))
        run((*self.command, *self.flags, *C_FLAGS, *extra, "-c", source, "-o", name), folder)
        return name

    def archive(self, objects: Sequence[str], name: str, folder: Path) -> Path:
        """A static library without timestamps, owners or modes."""
        (folder / name).unlink(missing_ok=True)
        for one in objects:
            drop_stack_note(folder / one)
        run((*self.archiver, "rcsD", name, *objects), folder)
        return folder / name

    def link(self, objects: Sequence[str], name: str, folder: Path, extra: Sequence[str] = ()) -> Path:
        """Link objects and archives (names relative to `folder`); `extra` goes last, where libraries belong.

        Without -O3 zig makes a library for undefined behaviour, too, at the first link for a target, and takes nothing
        from it.
        """
        run((*self.command, *self.flags, "-g0", "-O3", "-Wl,--build-id=none", *objects, "-o", name, *extra), folder)
        return folder / name

    @property
    def identity(self) -> str:
        """All that it says of itself: compilers of one version differ between those who built them."""
        return ask(*self.command, "--version") or self.version

    def first_use(self) -> str:
        """What to say where a build takes longer than later ones; empty where it does not."""
        if self.kind == "gcc" or self._mark().exists():
            return ""
        return (
            f"first build with {self.version} for this target: it makes its run-time library, once, in up to a minute"
        )

    def used(self) -> None:
        """Remember that there was a build."""
        with suppress(OSError):
            self._mark().parent.mkdir(parents=True, exist_ok=True)
            self._mark().touch()

    def _mark(self) -> Path:
        return cache_folder() / "used" / digest((self.version, *self.flags))


def drop_stack_note(path: Path) -> None:
    """Take the note that the stack needs no code out of an object for a microcontroller, which zig writes.

    GNU ld warns of its own start-up files, which have none, as soon as one object has it.
    """
    if wasm.is_wasm(path.read_bytes()):
        return
    found = elf.read(path)
    if not found.wide and STACK_NOTE in (section.name for section in found.sections):
        path.write_bytes(elf.without_sections(found.data, STACK_NOTE))


@dataclass(frozen=True)
class Tool:
    """Something that Bevel can use when it is there. `found` is its version."""

    name: str
    found: str | None
    enables: str


def run(command: Sequence[str], folder: Path) -> str:
    """The standard output of a command run in `folder`."""
    environment = os.environ | {"LC_ALL": "C", "ZERO_AR_DATE": "1", "SOURCE_DATE_EPOCH": "0"}
    if tuple(command[: len(ZIG)]) == ZIG:
        environment["ZIG_GLOBAL_CACHE_DIR"] = str(zig_cache().absolute())
    done = processes.run(command, folder, environment)
    if done.returncode == 0:
        return done.stdout
    if any(words in done.stderr for words in FULL_DISK) or some_disk_is_full(folder):
        raise full_disk(folder)  # zig aborts and takes its unfinished files away, so the disks are asked too
    raise ToolError(f"{' '.join(command)} (in {folder}) exited with {done.returncode}\n{done.stdout}{done.stderr}")


def for_target(target: Target, prefer: Preference = "auto") -> Toolchain:
    """The first compiler of the target that is installed. Raises UserError when none is."""
    wanted = [compiler for compiler in target.compilers if prefer in ("auto", compiler.kind)]
    for compiler in wanted:
        found = find(compiler, bare=target.bare)
        if found is not None:
            return found
    tried = ", ".join(name for compiler in wanted for name in (*compiler.commands, compiler.kind))
    raise UserError(f"no C compiler for {target.name}: tried {tried}; `pip install ziglang` gives one for every target")


def find(compiler: Compiler, bare: bool) -> Toolchain | None:
    extra = BARE_FLAGS if bare else ("-fPIC",)
    if compiler.kind == "zig":
        return zig((*compiler.flags, *ZIG_FLAGS, *extra))
    names = (name for name in compiler.commands if bare or has_headers(name))
    return next((tools for name in names if (tools := gcc(name, (*compiler.flags, *GCC_FLAGS, *extra)))), None)


def has_headers(command: str) -> bool:
    """Whether a compiler for an operating system finds the C library's headers: they come in a package of their own."""
    return ask(command, "-E", "-include", "string.h", "-include", "math.h", "-x", "c", os.devnull) is not None


def gcc(command: str, flags: tuple[str, ...]) -> Toolchain | None:
    if shutil.which(command) is None:
        return None
    archiver = ask(command, "-print-prog-name=ar") or "ar"
    return Toolchain("gcc", (command,), (archiver,), f"{command} {gcc_version(command)}", flags)


def zig(flags: tuple[str, ...]) -> Toolchain | None:
    version = zig_version()
    return Toolchain("zig", (*ZIG, "cc"), (*ZIG, "ar"), f"zig {version}", flags) if version else None


def ask(*command: str) -> str | None:
    """What a tool says about itself; None where it is not installed or does not work."""
    program = shutil.which(command[0])
    return None if program is None else answer(program, *command[1:])


@cache
def answer(*command: str) -> str | None:
    done = processes.run(command)
    return done.stdout.strip() if done.returncode == 0 else None


def gcc_version(command: str) -> str | None:
    return ask(command, "-dumpfullversion") or ask(command, "-dumpversion")


def zig_version() -> str | None:
    return ask(*ZIG, "version")


def printed_version(command: str) -> str | None:
    """The first version that `command --version` prints."""
    answer = ask(command, "--version")
    found = re.search(r"\d+(\.\d+)+", answer) if answer else None
    return found.group() if found else None


def wheel_version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def tools() -> list[Tool]:
    """Everything that Bevel looks for on this machine, found or not."""
    return [
        Tool("tvm", wheel_version("apache-tvm"), "kernels, for every target"),
        Tool("zig", zig_version(), "C compiler for every target, from pip"),
        Tool("gcc", gcc_version("gcc"), "preferred C compiler for the host"),
        Tool("arm-none-eabi-gcc", gcc_version("arm-none-eabi-gcc"), "preferred C compiler for Cortex-M"),
        Tool("riscv64-unknown-elf-gcc", gcc_version("riscv64-unknown-elf-gcc"), "preferred C compiler for rv32imc"),
        Tool("aarch64-linux-gnu-gcc", gcc_version("aarch64-linux-gnu-gcc"), "preferred C compiler for 64-bit Arm"),
        Tool("riscv64-linux-gnu-gcc", gcc_version("riscv64-linux-gnu-gcc"), "preferred C compiler for 64-bit RISC-V"),
        Tool("unicorn", wheel_version("unicorn"), "Cortex-M0+, M4, M7, M33, RISC-V in simulation: instruction counts"),
        Tool("qemu-system-arm", printed_version("qemu-system-arm"), "Cortex-M4, M7 and M55 boards in simulation"),
        Tool("qemu-system-riscv32", printed_version("qemu-system-riscv32"), "a RISC-V board in simulation"),
        Tool("pyserial", wheel_version("pyserial"), "boards on a serial port: --device serial:PORT"),
        Tool("pyocd", printed_version("pyocd"), "flashing a board before it is measured"),
        Tool(
            "qemu-aarch64",
            printed_version("qemu-aarch64"),
            "64-bit Arm programs on other hosts: instructions, no times",
        ),
        Tool(
            "qemu-riscv64",
            printed_version("qemu-riscv64"),
            "64-bit RISC-V programs on other hosts: instructions, no times",
        ),
        Tool("verilator", printed_version("verilator"), "programmable logic in simulation: cycles"),
        Tool("yosys", printed_version("yosys"), "programmable logic: what a design takes, synthesized"),
        Tool("wasmtime", wheel_version("wasmtime"), "WebAssembly: outputs and instruction counts"),
        Tool("chromium", printed_version("chromium"), "WebAssembly in a page: outputs and times"),
        Tool("nvcc", printed_version("nvcc"), "kernels for CUDA"),
        Tool("pocl", wheel_version("pocl-binary-distribution"), "OpenCL on the CPU: outputs of GPU targets, no times"),
    ]
