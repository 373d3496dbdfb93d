"""What we build for: one TOML file in `backends/targets/` each. Code asks what a target can do, not its name."""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from itertools import pairwise
from typing import Any, Literal

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.calib.errors import UserError

CHANGEABLE = (Resource.FLASH, Resource.RAM)  # limits that are memories, of which a part may have more or less


@dataclass(frozen=True)
class Memory:
    """A region of the address space: `flash` and `ram` are the limits a model must fit; `vectors` exists only on
    simulators and test boards, and holds test inputs; `boot` is where a core that does not start in flash starts."""

    name: str
    origin: int
    bytes: int


@dataclass(frozen=True)
class Compiler:
    """How to compile C for the target: the first of `commands` that is installed (zig needs none), and its flags."""

    kind: Literal["gcc", "zig"]
    flags: tuple[str, ...]
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """One machine. `llvm` is TVM's target for CPUs and None where kernels become C. `devices` are tried in order.
    `levels`: sets of instructions that a library may have loops for, the best first, last what the target has itself
    (`backends/cpu/levels.py`). `threads`: how many parts a call may have (`backends/program/teams.py`). `gpu`: of
    the GPU beside it, as `backends/gpu/chip.py` reads it; empty where there is none."""

    name: str
    summary: str
    backend: str  # a folder of `backends/`
    triple: str
    cpu: str
    compilers: tuple[Compiler, ...]  # in order of preference; of programmable logic none
    devices: tuple[str, ...]
    memories: tuple[Memory, ...] = ()
    abilities: frozenset[str] = frozenset()
    llvm: Mapping[str, Any] | None = field(default=None, hash=False)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False)  # device name -> its options
    clock_hz: int | None = None  # of a typical part, for estimates of time
    channels_together: int = 1  # that its kernels take: no fewer are kept of those that could go
    others: Resources = NOTHING  # limits of resources that are no memories
    levels: tuple[str, ...] = ()
    threads: int = 1
    gpu: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def architecture(self) -> str:
        """The instruction set: the triple's first part."""
        return self.triple.split("-")[0]

    @property
    def limits(self) -> Resources:
        """The most that a product may take of each resource that the target says anything about."""
        found = {name: memory.bytes for name in CHANGEABLE if (memory := self.memory(name)) is not None}
        return Resources(found) | self.others

    @property
    def bare(self) -> bool:
        """Whether programs run without an operating system, as the triple says."""
        return self.triple.split("-")[1] == "none"

    @property
    def streams(self) -> bool:
        """Whether a product has no working memory: tensors pass from node to node."""
        return "streams" in self.abilities

    @property
    def converts_outside(self) -> bool:
        """Whether float ports are converted apart from a run, which then knows integers alone."""
        return self.bare or bool(self.gpu)

    def memory(self, name: str) -> Memory | None:
        return next((memory for memory in self.memories if memory.name == name), None)

    def setting(self, device: str, key: str) -> str | None:
        """What the target says to a device, such as the core model that a simulator shall use."""
        return self.settings.get(device, {}).get(key)

    def asked(self, memory: Resources, levels: str | None, threads: int) -> Target:
        """The same target as a command asks for it. Raises UserError where it cannot be that."""
        return self.with_memory(memory).with_levels(levels).with_threads(threads)

    def with_memory(self, limits: Resources) -> Target:
        """The same target with other sizes of memories.

        Raises UserError where the target has no such limit, and where the memory would reach into the next one.
        """
        wanted = {str(name): int(size) for name, size in limits.items()}
        for name, size in wanted.items():
            if self.memory(name) is None:
                raise UserError(f"target {self.name} has no {name} limit to change")
            if size <= 0:
                raise UserError(f"{name} of {size} bytes: give a positive number of bytes")
        changed = tuple(replace(memory, bytes=wanted.get(memory.name, memory.bytes)) for memory in self.memories)
        for memory, following in pairwise(sorted(changed, key=lambda memory: memory.origin)):
            room = following.origin - memory.origin
            if memory.bytes > room:
                raise UserError(f"{memory.bytes:,} bytes of {memory.name}: {self.name}'s map has room for {room:,}")
        return replace(self, memories=changed)

    def with_logic(self, limits: Resources) -> Target:
        """The same target with other limits of what is no memory: lookup tables, multiplier blocks.

        Raises UserError where the target has no such limit, or less of it.
        """
        for name, amount in limits.items():
            if name not in self.others:
                raise UserError(f"target {self.name} has no {name.label} to limit")
            if amount > self.others[name]:
                raise UserError(f"{amount:,.0f} {name.label}: {self.name} has {self.others[name]:,.0f}")
        return replace(self, others=self.others | limits)

    def with_levels(self, wanted: str | None) -> Target:
        """The same target with loops for these levels only, named with commas between them, and for what it has itself.

        Raises UserError for a level that it has not.
        """
        if wanted is None:
            return self
        names = [one.strip() for one in wanted.split(",")]
        for name in names:
            if name not in self.levels:
                known = ", ".join(self.levels) or "none to choose from"
                raise UserError(f"no instruction set '{name}' of target {self.name}; there are: {known}")
        return replace(self, levels=tuple(one for one in self.levels if one in (*names, self.levels[-1])))

    def with_threads(self, threads: int) -> Target:
        """The same target with so many threads in a run. Raises UserError where it has none but one."""
        if threads > 1 and not self.compilers:
            raise UserError(f"{threads} threads: {self.name} runs no program")
        if threads > 1 and (self.bare or self.gpu or self.architecture == "wasm32"):
            why = "has no operating system" if self.bare else "shares no memory between threads"
            why = "starts its own" if self.gpu else why
            raise UserError(f"{threads} threads: {self.name} {why}, and runs one")
        return replace(self, threads=threads)


def names() -> list[str]:
    """Every known target."""
    folder = files("bevel.backends.targets")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name: str) -> Target:
    """The target called `name`. Raises UserError that lists what exists."""
    if name not in names():
        raise UserError(f"no target '{name}'; known targets: {', '.join(names())}")
    text = files("bevel.backends.targets").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return parse(name, tomllib.loads(text), platform.machine())


def parse(name: str, data: dict[str, Any], machine: str) -> Target:
    """The target that a TOML file describes; a file with [machine.*] tables takes the rest from `machine`'s."""
    machines = data.pop("machine", None)
    if machines is not None:
        if machine not in machines:
            raise UserError(f"target {name} runs on {', '.join(sorted(machines))}; this machine is {machine}")
        data |= machines[machine]
    return Target(
        name=name,
        summary=data["summary"],
        backend=data["backend"],
        triple=data["triple"],
        cpu=data["cpu"],
        compilers=tuple(compiler(table) for table in data.get("compiler", ())),
        devices=tuple(data["devices"]),
        memories=tuple(Memory(key, table["origin"], table["bytes"]) for key, table in data.get("memory", {}).items()),
        abilities=frozenset(data.get("abilities", ())),
        llvm=data.get("llvm"),
        settings=data.get("device", {}),
        clock_hz=data.get("clock_hz"),
        channels_together=data.get("channels_together", 1),
        others=Resources(data.get("limits", {})),
        levels=tuple(data.get("levels", ())),
        gpu=data.get("gpu", {}),
    )


def compiler(table: dict[str, Any]) -> Compiler:
    return Compiler(table["kind"], tuple(table["flags"]), tuple(table.get("commands", ())))
