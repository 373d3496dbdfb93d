"""A board on a serial port (--device serial:/dev/ttyACM0): what the simulators run, and its time in seconds.

The firmware says what it computed and how many ticks of the processor clock it took (firmware/report.h). Whoever has
the board flashes `firmware.elf` and presses reset while this waits; where the target names its chip to pyOCD
([device.serial] chip = "stm32h743vi") and pyOCD is installed, that is done here.

    [device.serial]            # in a target's file; all values are strings
    baud = "115200"
    clock_hz = "480000000"     # at which the board runs the firmware; default: the target's clock_hz
    chip = "stm32h743vi"       # for pyOCD
    board = "board_dwt.c"      # the board file that the firmware is built with, and the registers of its UART
    uart_data = "0x40004828"
    uart_state = "0x4000481C"
    uart_ready = "0x80"        # the bit of uart_state that means: the next byte may be written
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median_low
from typing import Any

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices import image, report
from bevel.backends.devices.base import SERIAL, CallCost, DeviceKind, Measurement, Vectors
from bevel.backends.process import processes
from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.backends.target import Target
from bevel.calib.errors import UserError
from bevel.calib.extras import to_install

BAUD = "115200"
TIMEOUT_S = 600.0
POLL_S = 0.2
START = "bevel "
FLASHER = "pyocd"


@dataclass(frozen=True)
class Serial:
    """The board at `port`. Raises UserError from `measure` where nothing answers, FirmwareError where it faults."""

    target: Target
    port: str
    timeout_s: float = TIMEOUT_S

    @property
    def name(self) -> str:
        return f"{SERIAL}{self.port}"

    @property
    def kind(self) -> DeviceKind:
        return "board"

    @property
    def baud(self) -> int:
        return int(self.target.setting("serial", "baud") or BAUD)

    @property
    def clock_hz(self) -> int | None:
        named = self.target.setting("serial", "clock_hz")
        return int(named) if named else self.target.clock_hz

    def missing(self) -> str | None:
        if not self.target.bare or self.clock_hz is None:
            return f"{self.target.name} is no board on a serial port"
        if find_spec("serial") is None:
            return f"pyserial is not installed: {to_install('board')} would measure on a board"
        return None

    def tool(self) -> str:
        return f"{self.port} at {self.baud} baud, {self.target.name} at {(self.clock_hz or 0) / 1e6:g} MHz"

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        assert self.clock_hz is not None
        loaded = image.load(artifact, vectors)
        with self.opened() as line:
            self.flash(loaded.elf.data)
            text = read_report(line, self.timeout_s)
        found = report.read(text, loaded, artifact, vectors)
        right = found.mismatches == 0
        return Measurement(
            device=self.name,
            kind=self.kind,
            tool=self.tool(),
            inputs=found.vectors,
            mismatches=found.mismatches,
            first_mismatch=report.describe_mismatch(found, artifact),
            spent=spent(median_low(found.ticks), self.clock_hz) if right else NOTHING,
            per_call=call_costs(found.call_ticks, self.clock_hz) if right else (),
        )

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The port, with nothing in its buffer from before."""
        serial = import_module("serial")
        try:
            with serial.Serial(self.port, self.baud, timeout=POLL_S) as line:
                line.reset_input_buffer()
                yield line
        except serial.SerialException as error:
            raise UserError(f"{self.port}: {error}") from None

    def flash(self, firmware: bytes) -> None:
        """Write the firmware and reset the chip, where the target names its chip. Raises UserError where that fails."""
        chip = self.target.setting("serial", "chip")
        if chip is None or shutil.which(FLASHER) is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "firmware.elf"
            path.write_bytes(firmware)
            done = processes.run((FLASHER, "load", "-t", chip, str(path)))
            if done.returncode == 0:
                done = processes.run((FLASHER, "reset", "-t", chip))
        if done.returncode:
            raise UserError(f"pyOCD could not flash {chip}: {' '.join(done.stderr.split())[-200:]}")


def call_costs(ticks: tuple[int, ...], clock_hz: int) -> tuple[CallCost, ...]:
    return tuple(CallCost(call, spent(one, clock_hz)) for call, one in enumerate(ticks))


def spent(ticks: int, clock_hz: int) -> Resources:
    return Resources({Resource.LATENCY: ticks / clock_hz})


def read_report(line: Any, timeout_s: float) -> str:
    """One whole report: what comes before its first line is not part of it, as after a reset in the middle of one."""
    end = time.monotonic() + timeout_s
    lines: list[str] = []
    part = b""
    while time.monotonic() < end:
        part += line.readline()
        if not part.endswith(b"\n"):
            continue
        text, part = part.decode("ascii", "replace"), b""
        if text.startswith(START):
            lines = []
        lines.append(text)
        if report.is_last(text) and (lines[0].startswith(START) or text.startswith("fault ")):
            return "".join(lines)
    said = f"it had said {''.join(lines)[-200:]!r}" if lines else "it said nothing; is firmware.elf flashed, and reset?"
    raise UserError(f"no report from the board in {timeout_s:.0f} s: {said}")
