"""CUDA C as machine code, by nvcc, and what each kernel takes.

Registers, and bytes that spill, are the assembler's; instructions that multiply four int8 at a time, or matrices of
int8, are counted in PTX.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

from bevel.backends.binary.toolchain import ask, run
from bevel.backends.process.cache import remembered
from bevel.calib.errors import UserError

COMMAND = "nvcc"
FLAGS = ("-cubin", "-O3", "-std=c++17", "--fmad=false", "-Xptxas", "-v", "--keep")
ENTRY = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)'.*?(?P<spilled>\d+) bytes spill stores"
    r".*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)
FUNCTION = re.compile(r"\.entry (?P<kernel>\w+)\(.*?^}", re.DOTALL | re.MULTILINE)
DOTS, MATRICES = (re.compile(rf"^\s*{name}\.", re.MULTILINE) for name in ("dp4a", r"mma\.sync"))
VERSION = re.compile(r"\bV(\d+(\.\d+)+)")


@dataclass(frozen=True)
class Occupied:
    """Of a kernel: registers of a thread, bytes that spill into memory, and instructions that multiply four int8 or
    matrices of int8."""

    registers: int
    spilled: int
    dots: int
    matrices: int


@dataclass(frozen=True)
class MachineCode:
    """A cubin, and what each of its kernels takes."""

    image: bytes
    kernels: Mapping[str, Occupied]


def missing() -> str | None:
    if shutil.which(COMMAND) is None:
        return f"{COMMAND} is not here: it builds the kernels; install CUDA's toolkit"
    return None


def version() -> str:
    """Empty without nvcc."""
    found = VERSION.search(ask(COMMAND, "--version") or "")
    return found[1] if found else ""


def machine_code(source: str, arch: str) -> MachineCode:
    """Of CUDA C, for an architecture such as sm_87, from the cache where it is known. Raises UserError without nvcc,
    ToolError where that rejects the source."""
    if why := missing():
        raise UserError(why)
    parts = [version(), arch, *FLAGS, *(one.name for one in fields(Occupied)), source]
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
        known = occupied(said, (folder / "kernels.ptx").read_text(encoding="utf-8"))
        told = json.dumps({kernel: astuple(one) for kernel, one in known.items()}).encode()
        return len(told).to_bytes(8, "little") + told + (folder / "kernels.cubin").read_bytes()


def occupied(said: str, ptx: str) -> dict[str, Occupied]:
    """What ptxas -v says of each kernel, and what is in its PTX."""
    counts = {one["kernel"]: [len(kind.findall(one[0])) for kind in (DOTS, MATRICES)] for one in FUNCTION.finditer(ptx)}
    return {
        one["kernel"]: Occupied(int(one["registers"]), int(one["spilled"]), *counts[one["kernel"]])
        for one in ENTRY.finditer(said)
    }
