"""What a build leaves behind: the files, what each costs in memory, and what a device must know to run them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bevel.backends.memory import Plan
from bevel.backends.program import Port


@dataclass(frozen=True)
class Slot:
    """A graph input or output and where in the arena it lies, in bytes from the arena's start."""

    port: Port
    offset: int


@dataclass(frozen=True)
class BuiltCall:
    """A call of the program in the product: the graph's node, the C symbol that computes it, and its work."""

    node: str
    symbol: str
    kernel: str  # the kernel, as a reader of the report knows it
    macs: int


@dataclass(frozen=True)
class Artifact:
    """A built model. Paths in `files` are relative to `folder`; sizes are bytes.

    flash_bytes: code, weights and initialised data, without test vectors; weights_bytes: the constant arrays alone;
    ram_bytes: the arena, static data, and the deepest stack of one inference.
    """

    model: str  # a C identifier
    target: str
    folder: Path
    files: dict[str, str]  # relative path -> sha256
    header: str
    library: str | None  # lib<model>.so, on CPUs
    archive: str  # lib<model>.a
    firmware: str | None  # firmware.elf, on microcontrollers, when there were test vectors to put in
    entry: str  # the C function that runs one inference
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    plan: Plan
    calls: tuple[BuiltCall, ...]
    toolchain: str  # name and version
    flash_bytes: int
    weights_bytes: int
    arena_bytes: int
    ram_bytes: int

    @property
    def call_symbols(self) -> tuple[str, ...]:
        """The kernel symbol of each call, in order; equal kernels share a symbol."""
        return tuple(call.symbol for call in self.calls)
