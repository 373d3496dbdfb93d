"""What the room of a machine gives to a build: the protocol that `build.py` is written against.

A target's file names its backend: a folder of `backends/` with a file `backend.py` that holds BACKEND. Only that file
knows the rest of the room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from bevel import backends

if TYPE_CHECKING:
    from bevel.backends.binary.artifact import Artifact
    from bevel.backends.binary.c.bundle import Bundle
    from bevel.backends.binary.toolchain import Toolchain
    from bevel.backends.devices.base import Device, Vectors
    from bevel.backends.process.progress import Tell
    from bevel.backends.program.memory import Plan
    from bevel.backends.program.op import Op
    from bevel.backends.program.program import Program
    from bevel.backends.program.resources import Resources
    from bevel.backends.select.rules import Rule
    from bevel.backends.target import Target

FILE = "backend"
Begin = Callable[[str], None]  # is told each step


@dataclass(frozen=True)
class Kernels:
    """What is to become code: kernels by their symbols, those symbols whose output may lie over an input, and flags of
    the compiler for some kernels. `name`: the model's."""

    name: str
    kernels: Mapping[str, Op]
    aliasing: frozenset[str]
    flags: Mapping[Op, tuple[str, ...]]


@dataclass(frozen=True)
class Source:
    """A file of code: a text in C, to be compiled with `flags` if its name ends in .c, or the bytes of an object."""

    file: str
    content: str | bytes
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Product:
    """What is to be linked: compiled `objects` in `folder`, beside the generated files of `program`, and the test
    vectors that firmware is to hold, if any. sizes: of the model alone."""

    program: Program
    plan: Plan
    target: Target
    toolchain: Toolchain
    folder: Path
    objects: Sequence[str]
    vectors: Vectors | None
    sizes: Resources


@dataclass(frozen=True)
class Linked:
    """What came of it, by file names, and what it takes."""

    sizes: Resources
    library: str | None = None
    firmware: str | None = None


LogicMode = Literal["auto", "streaming", "overlay"]


@dataclass(frozen=True)
class Designing:
    """How a product that is no library is wanted. folding: a file that says what stands side by side; synthesize:
    whether its resources are counted by synthesis, too; mode: whether all nodes stand beside each other, or one unit
    computes them one after the other; tell: what is to hear of each step."""

    tell: Tell
    folding: Path | None = None
    synthesize: bool = False
    mode: LogicMode = "auto"


@runtime_checkable
class Designer(Protocol):
    """A backend that makes its product itself, without any compiler of C."""

    def design(
        self, program: Program, target: Target, folder: Path, vectors: Vectors | None, wanted: Designing
    ) -> Artifact:
        """`program` in `folder`, an existing empty folder. Raises UserError for what it cannot make, or not within the
        target's limits."""
        ...


class Backend(Protocol):
    """One kind of machine."""

    def rules(self) -> Mapping[str, Rule]:
        """Whom to ask for a kernel."""
        ...

    def estimate(self, op: Op, target: Target) -> Resources:
        """What one call of a kernel, or of an operator's plain loops, spends, and the flash of its code."""
        ...

    def arranged(self, program: Program) -> Program:
        """`program`, its kernels chosen, as it is laid out for the machine: weights that calls share stored once."""
        ...

    def bundle(self, program: Program, plan: Plan, target: Target, flags: Mapping[Op, tuple[str, ...]]) -> Bundle:
        """The C around the kernels, and those kernels that `emit` is to make code of. flags: what tuning chose for
        some kernels."""
        ...

    def emit(self, code: Kernels, target: Target, begin: Begin) -> Sequence[Source]:
        """The kernels as code, with the headers it includes. In C or as an object: that is each kernel's own choice."""
        ...

    def plan(self, program: Program, in_place: bool = True, quick: bool = False) -> Plan:
        """Where everything lies in memory. quick: one of many, not the one that is built."""
        ...

    def link(self, product: Product, begin: Begin) -> Linked:
        """Raises UserError where the model alone fits, but not together with what it is linked with."""
        ...

    def device(self, name: str, target: Target) -> Device | None:
        """The device that a target's file calls so; None for a name that no module answers to."""
        ...


def names() -> list[str]:
    """Every backend there is."""
    return sorted(found.parent.name for root in backends.__path__ for found in Path(root).glob(f"*/{FILE}.py"))


def backend_of(target: Target) -> Backend:
    """Raises ValueError, which lists what exists, for a backend that no folder is named as: the file is wrong."""
    return named(target.backend)


@cache
def named(name: str) -> Backend:
    if name not in names():
        raise ValueError(f"no backend {name!r}; there are {', '.join(names())}")
    found: Backend = import_module(f"{backends.__name__}.{name}.{FILE}").BACKEND
    return found
