"""What a build leaves behind: the files, what each costs in memory, and what a device must know to run them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bevel.backends.binary.synthesized import Synthesized
from bevel.backends.program.memory import Lifetime, Merge, Plan
from bevel.backends.program.program import Asked, Port, Program
from bevel.backends.program.resources import Resources, from_keyed


@dataclass(frozen=True)
class Slot:
    """A graph input or output and where in the arena it lies, in bytes from the arena's start; where a float port is
    converted (`bevel.backends.program.conversions`), its integers."""

    port: Port
    offset: int


@dataclass(frozen=True)
class BuiltCall:
    """A call of the program in the product: the graph's node, the C symbol that computes it, and its work."""

    node: str
    symbol: str
    kernel: str  # the kernel, as a reader of the report knows it
    macs: int
    asked: tuple[Asked, ...] = ()  # the rules for a faster kernel, and what they answered


@dataclass(frozen=True)
class Artifact:
    """A built model. Paths in `files` are relative to `folder`; `takes`: of the target's resources.

    Of programmable logic, `header` says how to feed it, `archive` is the file of its top module, `entry` that module;
    there is no arena, and what it takes is estimated.
    """

    model: str  # a C identifier
    target: str
    folder: Path
    files: dict[str, str]  # relative path -> sha256
    header: str
    library: str | None  # lib<model>.so on CPUs, <model>.wasm for WebAssembly
    archive: str  # lib<model>.a
    firmware: str | None  # firmware.elf, on microcontrollers, when there were test vectors to put in
    entry: str  # the C function that runs one inference
    reset: str | None  # the C function before a sequence of them, where one run remembers the others
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    plan: Plan
    calls: tuple[BuiltCall, ...]
    toolchain: str  # name and version
    takes: Resources
    synthesized: Synthesized | None = None  # of programmable logic, where that was asked for

    @property
    def call_symbols(self) -> tuple[str, ...]:
        """The kernel symbol of each call, in order; equal kernels share a symbol."""
        return tuple(call.symbol for call in self.calls)

    def changed_files(self) -> list[str]:
        """The files that are missing, or hold something else than when they were built."""
        return [name for name, digest in self.files.items() if checksum(self.folder / name) != digest]


def slots(program: Program, ports: tuple[Port, ...], plan: Plan) -> tuple[Slot, ...]:
    """Where ports lie in the arena; one that is converted, where its first integers do."""
    held = {call.inputs[0]: call.output for call in reversed(program.entries)}
    held |= {call.output: call.inputs[0] for call in reversed(program.exits)}
    return tuple(Slot(port, plan.offsets[held.get(port.buffer, port.buffer)]) for port in ports)


def checksum(path: Path) -> str | None:
    """The file's sha256; None where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def checksums(folder: Path) -> dict[str, str]:
    """{path relative to `folder`: sha256} of every file below it, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def to_json(artifact: Artifact) -> dict[str, Any]:
    """All of an artifact but its folder, for a manifest; `from_json` reads it back."""
    data = asdict(artifact)
    del data["folder"], data["takes"]
    for call in data["calls"]:
        call["asked"] = [(one.rule, one.answer, one.cost.keyed()) for one in call["asked"]]
    return data | artifact.takes.keyed()


def from_json(data: dict[str, Any], folder: Path) -> Artifact:
    """The artifact that `to_json` described, now in `folder`. Raises KeyError where something is missing."""
    plain = {field.name: data[field.name] for field in fields(Artifact) if field.name not in ("folder", "takes")}
    nested = {
        "inputs": tuple(slot(item) for item in data["inputs"]),
        "outputs": tuple(slot(item) for item in data["outputs"]),
        "plan": plan(data["plan"]),
        "calls": tuple(built_call(item) for item in data["calls"]),
        "takes": from_keyed(data),
        "synthesized": None if data["synthesized"] is None else Synthesized(**data["synthesized"]),
    }
    return Artifact(folder=folder, **(plain | nested))


def built_call(data: dict[str, Any]) -> BuiltCall:
    asked = tuple(Asked(rule, answer, from_keyed(cost)) for rule, answer, cost in data["asked"])
    return BuiltCall(**(data | {"asked": asked}))


def slot(data: dict[str, Any]) -> Slot:
    port = data["port"]
    return Slot(Port(**(port | {"shape": tuple(port["shape"])})), data["offset"])


def plan(data: dict[str, Any]) -> Plan:
    nested = {
        "lifetimes": {name: Lifetime(**lifetime) for name, lifetime in data["lifetimes"].items()},
        "scratch": tuple(tuple(offsets) for offsets in data["scratch"]),
        "scratch_sizes": tuple(tuple(sizes) for sizes in data["scratch_sizes"]),
        "merged": tuple(Merge(**merge) for merge in data["merged"]),
    }
    return Plan(**(data | nested))
