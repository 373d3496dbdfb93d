"""Boards in QEMU: instruction counts from the board's own clock, and the only simulated core here with Helium.

With `-icount shift=N` QEMU's clock advances by exactly 2^N ns an instruction, whatever the host does, and a Cortex-M
board's SysTick counts that clock, as mcycle does on RISC-V. So the ticks between two readings are instructions times
2^N / (ns a tick), and with one tick an instruction or several nothing is lost in rounding.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from threading import Timer
from typing import IO

from bevel.backends.binary import toolchain
from bevel.backends.binary.artifact import Artifact
from bevel.backends.cortex_m.timing.cores import CORES
from bevel.backends.devices import image, qemu_plugin, report
from bevel.backends.devices.base import CallCost, DeviceKind, Measurement, Vectors, instructions
from bevel.backends.devices.estimate import estimate
from bevel.backends.devices.image import Image
from bevel.backends.devices.report import FirmwareError
from bevel.backends.process import processes
from bevel.backends.program.resources import NOTHING, Resources
from bevel.backends.target import Target

TIMEOUT_S = 1800.0

SYSTICK_BITS = 24
SYSTICK_HANDLER_INSTRUCTIONS = 5  # board_mps.c; it runs once each time SysTick wraps
# report.c takes off what timing an empty function costs, and that function is one instruction (its return).
EMPTY_FUNCTION_INSTRUCTIONS = 1


@dataclass(frozen=True)
class Board:
    """A board model: the program that has it, the rate of the clock that its firmware reads, and -icount's shift."""

    command: str
    clock_hz: int
    shift: int
    systick: bool  # whether that clock is SysTick, whose handler is executed too
    options: tuple[str, ...] = ()

    def instructions(self, ticks: int) -> int:
        """Instructions in an interval that report.c measured as `ticks`."""
        executed = round(ticks * 10**9 / (self.clock_hz << self.shift)) + EMPTY_FUNCTION_INSTRUCTIONS
        return executed - (ticks >> SYSTICK_BITS) * SYSTICK_HANDLER_INSTRUCTIONS * self.systick

    def spent(self, ticks: int) -> Resources:
        return instructions(self.instructions(ticks))

    def call_costs(self, ticks: tuple[int, ...]) -> tuple[CallCost, ...]:
        return tuple(CallCost(call, self.spent(one)) for call, one in enumerate(ticks))


# The processor clock is that which the model gives SysTick (hw/arm/mps2.c SYSCLK_FRQ, hw/arm/mps2-tz.c sysclk_frq). At
# 256 ns an instruction there are 6.4 ticks at 25 MHz, 8.192 at 32 MHz: an interval less the clock's own cost is four
# readings, each up to a tick early, which at this rate cannot add up to an instruction. mcycle counts nanoseconds
# (target/riscv/csr.c), so that a shift of 0 makes it count instructions. The virt board needs no firmware of its own.
BOARDS = {
    "mps2-an386": Board("qemu-system-arm", 25_000_000, 8, systick=True),
    "mps2-an500": Board("qemu-system-arm", 25_000_000, 8, systick=True),
    "mps3-an547": Board("qemu-system-arm", 32_000_000, 8, systick=True),
    "virt": Board("qemu-system-riscv32", 10**9, 0, systick=False, options=("-bios", "none")),
}


@dataclass(frozen=True)
class Qemu:
    """The target's board in QEMU. Raises FirmwareError from `measure` when the firmware faults or does not end."""

    target: Target
    timeout_s: float = TIMEOUT_S

    @property
    def name(self) -> str:
        return "qemu"

    @property
    def kind(self) -> DeviceKind:
        return "simulator"

    @property
    def machine(self) -> str | None:
        return self.target.setting("qemu", "machine")

    def missing(self) -> str | None:
        if self.machine is None:
            return f"no board of QEMU's has a {self.target.name}"
        command = BOARDS[self.machine].command
        if toolchain.printed_version(command) is None:
            return f"{command} is not installed: it would run and count {self.target.name} firmware"
        return None

    def tool(self) -> str:
        command = self.board.command
        return f"{command} {toolchain.printed_version(command)}, {self.machine}"

    @property
    def board(self) -> Board:
        assert self.machine is not None
        return BOARDS[self.machine]

    @property
    def words(self) -> tuple[str, ...]:
        """The command line, up to the firmware."""
        core = self.target.setting("qemu", "cpu")
        cpu = ("-cpu", core) if core else ()
        return (self.board.command, "-M", str(self.machine), *cpu, *self.board.options)

    def plugin(self, loaded: Image, artifact: Artifact, counts: Path) -> tuple[str, ...]:
        """What makes QEMU write executed blocks to `counts`, where something can be made of them."""
        if self.target.cpu not in CORES or not qemu_plugin.usable(self.board.command):
            return ()
        return qemu_plugin.arguments(loaded, artifact.entry, counts)

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        loaded = image.load(artifact, vectors)
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "firmware.elf"
            path.write_bytes(loaded.elf.data)
            counts = Path(name) / "counts"
            count = ("-icount", f"shift={self.board.shift}", *self.plugin(loaded, artifact, counts))
            text = emulate((*self.words, *count), path, self.timeout_s)
            blocks = qemu_plugin.read(counts)
        found = report.read(text, loaded, artifact, vectors)
        right = found.mismatches == 0
        return Measurement(
            device=self.name,
            kind=self.kind,
            tool=self.tool(),
            inputs=found.vectors,
            mismatches=found.mismatches,
            first_mismatch=report.describe_mismatch(found, artifact),
            spent=self.board.spent(median_low(found.ticks)) if right else NOTHING,
            per_call=self.board.call_costs(found.call_ticks) if right else (),
            estimate=estimate(self.target, blocks, loaded.code, found.vectors) if right and blocks else None,
        )


def emulate(command: Sequence[str], firmware: Path, timeout_s: float) -> str:
    """What the board's first UART says until the report ends. Raises FirmwareError where it does not end."""
    plain = ("-kernel", str(firmware), "-display", "none", "-monitor", "none", "-serial", "stdio", "-nic", "none")
    with tempfile.TemporaryFile("w+") as errors, processes.started((*command, *plain), errors=errors) as process:
        timer = Timer(timeout_s, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            text = read_report(process.stdout)
            finished = timer.is_alive()
        finally:
            timer.cancel()
            end(process)
        errors.seek(0)
        said = errors.read().strip()
    if not finished:
        raise FirmwareError(f"the firmware did not end in {timeout_s:.0f} s; it had said {text[-200:]!r}")
    if not text.splitlines() or not report.is_last(text.splitlines()[-1]):
        raise FirmwareError(f"{command[0]} ended before the report did: {said or text[-200:]!r}")
    return text


def end(process: subprocess.Popen[str]) -> None:
    """Let QEMU end by itself, so that its plugin can write, but not for long."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def read_report(stream: IO[str]) -> str:
    lines = []
    for line in stream:
        lines.append(line)
        if report.is_last(line):
            break
    return "".join(lines)
