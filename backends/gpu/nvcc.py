"""CUDA C as machine code, by nvcc, and what the assembler says of each kernel: registers, and bytes that spill."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bevel.backends.binary.toolchain import printed_version, run
from bevel.backends.process.cache import remembered
from bevel.calib.errors import UserError

COMMAND = "nvcc"
FLAGS = ("-cubin", "-O3", "-std=c++17", "--fmad=false", "-Xptxas", "-v")
ENTRY = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)'.*?(?P<spilled>\d+) bytes spill stores"
    r".*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


@dataclass(frozen=True)
class Occupied:
    """Of a kernel: registers of a thread, and bytes that spill into memory."""

    registers: int
    spilled: int


@dataclass(frozen=True)
class MachineCode:
    """A cubin, and what each of its kernels takes."""

    image: bytes
    kernels: Mapping[str, Occupied]


def missing() -> str | None:
    if shutil.which(COMMAND) is None:
        return f"{COMMAND} is not here: it builds the kernels; install CUDA's toolkit"
    return None


def machine_code(source: str, arch: str) -> MachineCode:
    """Of CUDA C, for an architecture such as sm_87, from the cache where it is known. Raises UserError without nvcc,
    ToolError where that rejects the source."""
    if why := missing():
        raise UserError(why)
    parts = [printed_version(COMMAND) or "", arch, *FLAGS, source]
    data = remembered("cubin", parts, lambda: built(source, arch))
    size = int.from_bytes(data[:8], "little")
    told = json.loads(data[8 : 8 + size])
    return MachineCode(data[8 + size :], {name: Occupied(*one) for name, one in told.items()})


def built(source: str, arch: str) -> bytes:
    with TemporaryDirectory(prefix="bevel-") as name:
        folder = Path(name)
        (folder / "kernels.cu").write_text(source, encoding="utf-8")
        command = (COMMAND, f"-arch={arch}", *FLAGS, "-o", "kernels.cubin", "kernels.cu")
        said = run(("sh", "-c", f"{' '.join(command)} 2>&1"), folder)
        told = json.dumps({kernel: [one.registers, one.spilled] for kernel, one in occupied(said).items()}).encode()
        return len(told).to_bytes(8, "little") + told + (folder / "kernels.cubin").read_bytes()


def occupied(said: str) -> dict[str, Occupied]:
    """What ptxas -v says of each kernel."""
    return {one["kernel"]: Occupied(int(one["registers"]), int(one["spilled"])) for one in ENTRY.finditer(said)}
