"""Cortex-M boards in qemu-system-arm: instruction counts from SysTick, and the only simulated core here with Helium.

With `-icount shift=N` QEMU's clock advances by exactly 2^N ns an instruction, whatever the host does, and the board's
SysTick counts that clock. So the ticks between two readings are instructions times 2^N / (ns a tick), and with several
ticks an instruction nothing is lost in rounding.
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

from bevel.backends import toolchain
from bevel.backends.artifact import Artifact
from bevel.backends.devices import image, qemu_plugin, report
from bevel.backends.devices.base import CallCost, DeviceKind, Measurement, Vectors
from bevel.backends.devices.estimate import estimate
from bevel.backends.devices.report import FirmwareError
from bevel.backends.target import Target

COMMAND = "qemu-system-arm"
TIMEOUT_S = 1800.0

# 256 ns an instruction: 6.4 ticks at 25 MHz, 8.192 at 32 MHz. An interval less the clock's own cost is four readings,
# each up to a tick early, which at this rate cannot add up to an instruction.
ICOUNT_SHIFT = 8
# The processor clock in Hz that each board model gives SysTick (hw/arm/mps2.c SYSCLK_FRQ, hw/arm/mps2-tz.c sysclk_frq).
CLOCKS = {"mps2-an386": 25_000_000, "mps2-an500": 25_000_000, "mps3-an547": 32_000_000}
SYSTICK_BITS = 24
SYSTICK_HANDLER_INSTRUCTIONS = 5  # board_mps.c; it runs once each time SysTick wraps
# report.c takes off what timing an empty function costs, and that function is one instruction (bx lr).
EMPTY_FUNCTION_INSTRUCTIONS = 1


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
        if toolchain.printed_version(COMMAND) is None:
            return f"{COMMAND} is not installed: it would run and count {self.target.name} firmware"
        return None

    def tool(self) -> str:
        return f"{COMMAND} {toolchain.printed_version(COMMAND)}, {self.machine}"

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        assert self.machine is not None
        loaded = image.load(artifact, vectors)
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "firmware.elf"
            path.write_bytes(loaded.elf.data)
            counts = Path(name) / "counts"
            plugin = qemu_plugin.arguments(loaded, artifact.entry, counts) if qemu_plugin.usable(COMMAND) else ()
            text = emulate(self.machine, path, self.timeout_s, plugin)
            blocks = qemu_plugin.read(counts)
        if fault := report.fault(text):
            where = loaded.symbol_at(fault["pc"])
            raise FirmwareError(f"the firmware faulted at pc {fault['pc']:#010x} in {where}: {fault['exception']}")
        found = report.parse(text)
        report.check(found, artifact, vectors)
        right = found.mismatches == 0
        clock = CLOCKS[self.machine]
        return Measurement(
            device=self.name,
            kind=self.kind,
            tool=self.tool(),
            inputs=found.vectors,
            mismatches=found.mismatches,
            first_mismatch=report.describe_mismatch(found, artifact),
            instructions=instructions(median_low(found.ticks), clock) if right else None,
            per_call=call_costs(found.call_ticks, clock) if right else (),
            estimate=estimate(self.target, blocks, loaded.code, found.vectors) if right and blocks else None,
        )


def instructions(ticks: int, clock: int) -> int:
    """Instructions in an interval that report.c measured as `ticks` of a SysTick at `clock` Hz."""
    executed = round(ticks * 10**9 / (clock << ICOUNT_SHIFT)) + EMPTY_FUNCTION_INSTRUCTIONS
    return executed - (ticks >> SYSTICK_BITS) * SYSTICK_HANDLER_INSTRUCTIONS


def call_costs(ticks: tuple[int, ...], clock: int) -> tuple[CallCost, ...]:
    return tuple(CallCost(call, instructions=instructions(spent, clock)) for call, spent in enumerate(ticks))


def emulate(machine: str, firmware: Path, timeout_s: float, extra: Sequence[str] = ()) -> str:
    """What the board's first UART says until the report ends. Raises FirmwareError where it does not end."""
    command = (COMMAND, "-M", machine, "-icount", f"shift={ICOUNT_SHIFT}", "-kernel", str(firmware))
    plain = ("-display", "none", "-monitor", "none", "-serial", "stdio", "-nic", "none")
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            (*command, *plain, *extra), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        )
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
        raise FirmwareError(f"{COMMAND} ended before the report did: {said or text[-200:]!r}")
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
