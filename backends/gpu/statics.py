"""What is known of kernels without running them: threads, bytes that they move, what their machine code takes.

Bytes moved are those of all operands of a call once, which it cannot do without; what several threads read anew, and
what caches keep, is not known here. Scratch and states are written and read, and count twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bevel.backends.gpu.chip import Chip
from bevel.backends.gpu.launched import DeviceCode, LaunchNumbers
from bevel.backends.gpu.ranking import estimated_seconds
from bevel.backends.gpu.roofline import least_seconds, product_seconds
from bevel.backends.gpu.transfers import on_device
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Op, Role
from bevel.backends.program.program import Program

FILE = "_kernels.json"  # behind the model's name


@dataclass(frozen=True)
class Taken:
    """By a kernel's machine code: registers of a thread, bytes that spill into memory, instructions that multiply four
    int8 at a time or matrices of int8, and the part of a multiprocessor's threads that it keeps."""

    registers: int
    spilled: int
    dots: int
    matrices: int
    occupancy: float

    def __str__(self) -> str:
        parts = f"{self.registers} registers, {self.spilled} bytes spilled, {self.dots} dp4a, {self.matrices} mma"
        return f"{parts}, {self.occupancy:.0%} occupancy (static)"


@dataclass(frozen=True)
class CallStatics:
    """Of a call: `int8`, whether it adds up products of int8 alone; `least_s`, what it takes at least where the chip is
    known, an estimate (roofline.py); `estimated_s`, the estimate that ranks it beside other kernels (ranking.py);
    `launches` and the threads of the largest; where there is machine code, what that of each launch takes."""

    node: str
    kernel: str
    device: bool
    macs: int
    int8: bool
    moved: int
    least_s: float | None
    estimated_s: float | None
    launches: int
    threads: int
    taken: tuple[Taken, ...]


def statics(
    program: Program, symbols: Sequence[str], code: DeviceCode, functions: Mapping[str, Taken], chip: Chip
) -> list[CallStatics]:
    """`symbols`: of each call's kernel; `functions`: what is known of device functions, by name."""
    found = []
    for call, symbol in zip(program.calls, symbols, strict=True):
        kernel, launches = call.kernel, code.launches.get(symbol, ())
        known = dict.fromkeys(one.function for one in launches if one.function in functions)
        least, ranked = estimates(chip, kernel, launches, functions) if on_device(call) else (None, None)
        found.append(
            CallStatics(
                call.node,
                type(kernel).__name__,
                on_device(call),
                kernel.macs,
                multiplies_int8(kernel),
                moved(kernel),
                least,
                ranked,
                len(launches),
                max((one.groups * one.threads for one in launches), default=0),
                tuple(functions[one] for one in known),
            )
        )
    return found


def estimates(
    chip: Chip, kernel: Op, launches: Sequence[LaunchNumbers], functions: Mapping[str, Taken]
) -> tuple[float | None, float | None]:
    """The least that a call takes, and what ranks it; None where the chip is not known."""
    occupied = {one.function: functions[one.function] for one in launches if one.function in functions}
    int8, matrices = multiplies_int8(kernel), any(one.matrices for one in occupied.values())
    least = least_seconds(chip, moved(kernel), kernel.macs, int8, matrices)
    if least is None:
        return None, None
    products = product_seconds(chip, kernel.macs, int8, matrices)
    parts = {name: one.occupancy for name, one in occupied.items()}
    return least, estimated_seconds(chip, launches, parts, moved(kernel), products)


def multiplies_int8(kernel: Op) -> bool:
    """Whether it adds up products of its first two operands, and both are int8."""
    factors = (kernel.op if isinstance(kernel, Kernel) else kernel).operands()[:2]
    return bool(kernel.macs) and [one.dtype for one in factors] == ["int8", "int8"]


def moved(kernel: Op) -> int:
    return sum(one.bytes * (2 if one.role in (Role.SCRATCH, Role.STATE) else 1) for one in kernel.operands())


def to_json(found: Sequence[CallStatics]) -> str:
    return json.dumps([asdict(one) for one in found], indent=1) + "\n"


def load(folder: Path, model: str) -> list[CallStatics]:
    """What a build left."""
    data = json.loads((folder / f"{model}{FILE}").read_text(encoding="utf-8"))
    return [CallStatics(**(one | {"taken": tuple(Taken(**each) for each in one["taken"])})) for one in data]
