"""Cores in the unicorn emulator, from pip: exact counts of executed instructions, which are not cycles.

The firmware runs from its reset on nothing but memory, a UART and, on a Cortex-M, a system control space that remembers
what is written to it. There are no interrupts, so SysTick stands still; a RISC-V core's mcycle shows the host's time,
which nothing here reads. The counts come from count_hook.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from statistics import median_low
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.backends import firmware
from bevel.backends.binary import toolchain
from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices import count_hook, image, report, shared_library
from bevel.backends.devices.base import CallCost, DeviceKind, Estimate, Measurement, Vectors
from bevel.backends.devices.count_hook import RISCV, THUMB, Counter, InstructionSet
from bevel.backends.devices.estimate import estimate
from bevel.backends.devices.image import Image
from bevel.backends.devices.report import FirmwareError
from bevel.backends.process.interruption import beside
from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.backends.target import Target

PAGE = 4096
SYSTEM_CONTROL_SPACE = 0xE000E000
DATA_WATCHPOINT_AND_TRACE, CYCLE_COUNT = 0xE0001000, 4
RAM_AT_RESET = 0xA5  # real RAM is not zero at reset; nothing may rely on it
TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Architecture:
    """How unicorn names an instruction set's mode, core models and registers, by its constants and their prefixes.

    `uart_state` is what the UART of the family's board file (firmware/board_*.c) reads as when it is ready.
    """

    code: InstructionSet
    kind: str
    mode: str
    models: str
    registers: str
    uart_state: int
    system_control: bool  # whether there are Armv7-M's memory-mapped system registers


ARCHITECTURES = {
    # Not UC_MODE_MCLASS, which means a Cortex-M33 whatever core is asked for (unicorn, cpu_arm_init).
    "thumb": Architecture(THUMB, "UC_ARCH_ARM", "UC_MODE_THUMB", "UC_CPU_ARM_", "UC_ARM_REG_", 0, True),
    "riscv32": Architecture(RISCV, "UC_ARCH_RISCV", "UC_MODE_RISCV32", "UC_CPU_RISCV32_", "UC_RISCV_REG_", 0x60, False),
}


@dataclass(frozen=True)
class Unicorn:
    """The target's core in unicorn. Raises FirmwareError from `measure` when the firmware faults or does not end."""

    target: Target
    timeout_s: float = TIMEOUT_S

    @property
    def name(self) -> str:
        return "unicorn"

    @property
    def kind(self) -> DeviceKind:
        return "simulator"

    @property
    def core(self) -> str | None:
        return self.target.setting("unicorn", "cpu")

    def missing(self) -> str | None:
        if self.core is None:
            return f"unicorn has no core for {self.target.name}"
        if find_spec("unicorn") is None:
            return f"unicorn is not installed: `pip install unicorn` would run and count {self.target.name} firmware"
        if shared_library.host_compiler() is None:
            return "no C compiler for this machine: `pip install ziglang` would let unicorn count instructions"
        return None

    def tool(self) -> str:
        return f"unicorn {toolchain.wheel_version('unicorn')}, {self.core}"

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        emulation = Emulation(self.target, image.load(artifact, vectors), artifact, len(vectors))
        text, counts = emulation.run(self.timeout_s)
        found = report.parse(text)
        report.check(found, artifact, vectors)
        if len(counts) != len(vectors):
            raise FirmwareError(f"{artifact.entry} was entered {len(counts)} times for {len(vectors)} vectors")
        right = found.mismatches == 0
        return Measurement(
            device=self.name,
            kind=self.kind,
            tool=self.tool(),
            inputs=found.vectors,
            mismatches=found.mismatches,
            first_mismatch=report.describe_mismatch(found, artifact),
            spent=spent(counts[:, -1] - counts[:, 0]) if right else NOTHING,
            per_call=call_costs(counts) if right else (),
            estimate=self.estimate(emulation, len(counts)) if right else None,
        )

    def estimate(self, emulation: Emulation, runs: int) -> Estimate | None:
        """Cycles of the average inference; None for a core whose timing nothing here describes."""
        return estimate(self.target, emulation.counter.blocks(), emulation.image.code, runs)

    def emulate(self, artifact: Artifact, vectors: Vectors) -> tuple[str, NDArray[np.uint64]]:
        """The firmware's report as text, and instruction counts as of Counter.runs."""
        emulation = Emulation(self.target, image.load(artifact, vectors), artifact, len(vectors))
        return emulation.run(self.timeout_s)


def call_costs(counts: NDArray[np.uint64]) -> tuple[CallCost, ...]:
    """Median instructions of each call, from its kernel's entry to the next kernel's entry or the end."""
    found = np.diff(counts[:, 1:].astype(np.int64), axis=1)
    return tuple(CallCost(call, spent(column)) for call, column in enumerate(found.T))


def spent(counts: NDArray[Any]) -> Resources:
    """The median of several runs."""
    return Resources({Resource.INSTRUCTIONS: median_low(counts.tolist())})


class Emulation:
    """One run of a firmware image. Holds what unicorn's callbacks need to outlive."""

    def __init__(self, target: Target, loaded: Image, artifact: Artifact, runs: int) -> None:
        self.engine: Any = import_module("unicorn")  # not typed, and not needed before here
        self.architecture = ARCHITECTURES[target.architecture]
        constants: Any = import_module(self.architecture.code.constants)
        self.image = loaded
        self.output = bytearray()
        self.refused: tuple[int, int] | None = None  # the address and size of an access that no memory answered
        kind, mode = getattr(self.engine, self.architecture.kind), getattr(self.engine, self.architecture.mode)
        self.uc = self.engine.Uc(kind, mode)
        core = (target.setting("unicorn", "cpu") or "").upper().replace("-", "_")
        self.uc.ctl_set_cpu_model(getattr(constants, f"{self.architecture.models}{core}"))
        self.program_counter, self.stack_pointer = (
            getattr(constants, f"{self.architecture.registers}{name}") for name in ("PC", "SP")
        )
        self.map_memories(target)
        self.map_devices(firmware.uart(target))
        self.load()
        self.counter = self.add_counter(artifact, runs)

    def map_memories(self, target: Target) -> None:
        engine = self.engine
        for memory in target.memories:
            access = engine.UC_PROT_READ | (engine.UC_PROT_WRITE if memory.name == "ram" else engine.UC_PROT_EXEC)
            size = -(-memory.bytes // PAGE) * PAGE
            self.uc.mem_map(memory.origin, size, access)
            if memory.name == "ram":
                self.uc.mem_write(memory.origin, bytes([RAM_AT_RESET]) * size)

    def map_devices(self, uart: int) -> None:
        self.uc.mmio_map(uart, PAGE, self.read_uart, None, self.write_uart, None)
        if self.architecture.system_control:
            self.uc.mem_map(SYSTEM_CONTROL_SPACE, PAGE)
            self.uc.mmio_map(DATA_WATCHPOINT_AND_TRACE, PAGE, self.read_cycles, None, ignore_write, None)

    def read_uart(self, uc: Any, offset: int, size: int, data: Any) -> int:
        return self.architecture.uart_state

    def write_uart(self, uc: Any, offset: int, size: int, value: int, data: Any) -> None:
        if offset == 0:  # the data register; the others set up a line that is not there
            self.output.append(value & 0xFF)

    def read_cycles(self, uc: Any, offset: int, size: int, data: Any) -> int:
        """The cycle counter of board_dwt.c stands at the instructions executed; a cycle each, so no time."""
        return self.counter.instructions & 0xFFFFFFFF if offset == CYCLE_COUNT else 0

    def load(self) -> None:
        for segment in self.image.elf.segments:
            if segment.data:
                self.uc.mem_write(segment.physical, segment.data)

    def add_counter(self, artifact: Artifact, runs: int) -> Counter:
        entries = [self.image.address(symbol) for symbol in artifact.call_symbols]
        entry, code = self.image.address(artifact.entry), self.architecture.code
        counter = count_hook.attach(self.uc, entry, entries, runs, code)
        self.uc.hook_add(self.engine.UC_HOOK_MEM_INVALID, self.refuse)
        return counter

    def refuse(self, uc: Any, access: int, address: int, size: int, value: int, data: Any) -> bool:
        self.refused = (address, size)
        return False

    def run(self, timeout_s: float) -> tuple[str, NDArray[np.uint64]]:
        """The UART's text, and Counter.runs. Raises FirmwareError where the firmware does not reach its end."""
        start, done = self.reset(), self.image.address("bevel_done")
        try:
            beside(lambda: self.uc.emu_start(start, done, timeout=int(timeout_s * 1e6)), self.uc.emu_stop)
        except self.engine.UcError as error:
            raise FirmwareError(self.describe_fault(str(error))) from error
        if self.uc.reg_read(self.program_counter) != done:
            raise FirmwareError(f"the firmware did not end in {timeout_s:.0f} s; it was at {self.place()}")
        return self.output.decode("ascii"), self.counter.runs()

    def reset(self) -> int:
        """Where the core starts: a Cortex-M takes its stack pointer and that address from the vector table."""
        table = next((section for section in self.image.elf.sections if section.name == ".vector_table"), None)
        if table is None:
            return self.image.address("Reset_Handler")
        words = np.frombuffer(self.image.elf.bytes_of(table)[:8], "<u4")
        self.uc.reg_write(self.stack_pointer, int(words[0]))
        return int(words[1]) | image.THUMB

    def place(self) -> str:
        address = int(self.uc.reg_read(self.program_counter))
        return f"pc {address:#010x} in {self.image.symbol_at(address)}"

    def describe_fault(self, error: str) -> str:
        access = f", {self.refused[1]} bytes at {self.refused[0]:#010x}" if self.refused else ""
        return f"the firmware faulted at {self.place()}: {error}{access}"


def ignore_write(uc: Any, offset: int, size: int, value: int, data: Any) -> None:
    pass
