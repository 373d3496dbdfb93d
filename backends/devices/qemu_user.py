"""Linux programs for 64-bit Arm and RISC-V under QEMU's user-mode emulation.

An emulator's time says nothing about the machine it emulates, so none is reported: only that every output is right,
and how many instructions that took, where it has plugins (`marks.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.toolchain import Toolchain, for_target, printed_version
from bevel.backends.devices import marks
from bevel.backends.devices.base import DeviceKind, Measurement, Opened, Vectors, compared
from bevel.backends.devices.native import HARNESS, build_harness, outputs
from bevel.backends.target import Target

MACHINES = {"aarch64": "64-bit Arm", "riscv64": "64-bit RISC-V"}


@dataclass(frozen=True)
class QemuUser:
    """Runs a static program for `target` on the core model that the target's file names."""

    target: Target
    name: str = "qemu-user"
    kind: DeviceKind = "simulator"

    @property
    def emulator(self) -> str:
        return f"qemu-{self.target.architecture}"

    @property
    def command(self) -> str:
        """What is installed of it, else its name."""
        return next((name for name in (self.emulator, f"{self.emulator}-static") if shutil.which(name)), self.emulator)

    def missing(self) -> str | None:
        machine = MACHINES.get(self.target.architecture)
        if machine is None or self.target.bare:
            known = " and ".join(MACHINES.values())
            return f"{self.name} runs Linux programs for {known}; {self.target.name} is {self.target.triple}"
        if shutil.which(self.command) is None:
            would = f"would check the outputs of {machine} programs"
            return f"{self.emulator} is not installed (Debian: qemu-user); it {would}"
        return None

    def tool(self) -> str:
        return f"{self.emulator} {printed_version(self.command)}, {self.core}: an emulator's time means nothing"

    @property
    def core(self) -> str:
        return self.target.setting("qemu-user", "cpu") or "max"

    @contextmanager
    def opened(self, artifact: Artifact) -> Iterator[Opened]:
        """The library as a function: {input port: array [N, *shape]} to the same of its outputs."""
        with TemporaryDirectory(prefix="bevel-") as name:
            folder = Path(name)
            build_harness(artifact, static_toolchain(self.target), folder, static=True)
            emulator = (self.command, "-cpu", self.core)
            yield lambda inputs, begins=None: outputs(artifact, Vectors(inputs, {}, begins), folder, emulator)

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        """Compare every output element. Raises HarnessError when the program crashes."""
        with TemporaryDirectory(prefix="bevel-") as name:
            folder = Path(name)
            build_harness(artifact, static_toolchain(self.target), folder, static=True)
            command, counts = self.command, folder / "counts.bin"
            plugin = marks.arguments(command, folder / HARNESS, counts)
            got = outputs(artifact, vectors, folder, (command, "-cpu", self.core, *plugin), marked=bool(plugin))
            spent, per_call = marks.read(counts, len(vectors))
        result = compared(self, got, vectors)
        return result if result.mismatches else replace(result, spent=spent, per_call=per_call)


def static_toolchain(target: Target) -> Toolchain:
    """The target's compiler, set to link static programs: zig does so against musl only."""
    found = for_target(target)
    return replace(found, flags=tuple(flag.replace("-linux-gnu", "-linux-musl") for flag in found.flags))
