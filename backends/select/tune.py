"""Which of several equal kernels to take, and how to compile it: a choice that was measured, never guessed twice.

A kernel whose speed depends on numbers that its results do not depend on (tile sizes, unrolling, an order of loops)
keeps them as fields, and says which other values are worth a try:

    @dataclass(frozen=True)
    class ConvDsp(Kernel):
        ...
        pixels: int = 2

        def variants(self) -> Iterable[Kernel]:
            return (replace(self, pixels=pixels) for pixels in (1, 4))

Every kernel can moreover be compiled with each set of flags in FLAGS; on small cores that matters as much as the tiles.
Of a GPU's kernel flags are the threads of its work-groups (`backends/gpu/groups.py`).
`search.py` measures candidates, `tuned.py` remembers what was found, and `choose` here puts it into a program.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from itertools import product
from typing import Any, Literal, Protocol, runtime_checkable

from bevel.backends.program.op import Array, Op, Role
from bevel.backends.program.program import Call, Program
from bevel.calib.arithmetic.requantize import Output

Flags = tuple[str, ...]

# Beyond toolchain.C_FLAGS, which these follow and override. gcc's scheduler before register allocation costs spills
# where a kernel uses all registers.
FLAGS: Mapping[Literal["gcc", "zig"], tuple[Flags, ...]] = {
    "gcc": (
        (),
        ("-fno-schedule-insns",),
        ("-O2", "-fno-schedule-insns"),
        ("-O2",),
        ("-O2", "-fno-tree-pre", "-fno-schedule-insns"),
        ("-O2", "-fno-ivopts", "-fno-schedule-insns"),
    ),
    "zig": ((), ("-O2",), ("-Os",)),
}


@runtime_checkable
class Tunable(Protocol):
    """A kernel with variants."""

    def variants(self) -> Iterable[Op]:
        """Other kernels worth a try, likeliest first: the same inputs, outputs and results bit for bit.

        They take the same constants too, unless the kernel is also `Repacking`. Scratch may differ.
        """
        ...


@runtime_checkable
class Repacking(Tunable, Protocol):
    """A tunable kernel whose variants want their constants in another order."""

    def repack(self, constants: tuple[Array, ...], variant: Op) -> tuple[Array, ...]:
        """This kernel's `constants` as `variant`, one of `variants`, takes them."""
        ...


@dataclass(frozen=True)
class Choice:
    """How one kernel is to be built."""

    kernel: Op
    flags: Flags = ()

    def describe(self) -> Selection:
        return Selection(key(self.kernel), self.flags)


@dataclass(frozen=True)
class Selection:
    """A choice as it can be written down: `variant` is the kernel's key."""

    variant: str
    flags: Flags = ()


Choices = Mapping[Op, Choice]  # by the kernel that `specialize` had chosen
Selections = Mapping[str, Selection]  # by the key of that kernel

# What a fast loop does not depend on: a network's scales and zero points.
VALUES = ("zero_point", "multiplier", "multipliers", "shift", "shifts", "offset")
PLAIN_TYPE = "int8"  # goes without saying


def key(value: Any) -> str:
    """What a kernel is called in a database: its repr without VALUES and int8, so one shape serves all networks.

    A field at its default goes without saying: one that is added, with a default, changes no name.
    """
    if is_dataclass(value) and not isinstance(value, type):
        shown = [(field, getattr(value, field.name)) for field in fields(value)]
        told = [f"{field.name}={key(part)}" for field, part in shown if not goes_without_saying(field, part)]
        return f"{type(value).__name__}({', '.join(told)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(key, value))})"
    return repr(value)


def goes_without_saying(field: Field[Any], part: Any) -> bool:
    name = field.name
    told = isinstance(part, Output) or name.endswith(VALUES) or (name.endswith("dtype") and part == PLAIN_TYPE)
    return told or (field.default is not MISSING and bool(field.default == part))


def candidates(kernel: Op, flags: Iterable[Flags]) -> list[Choice]:
    """Every choice there is for `kernel` with these `flags`: itself, then those with few things changed, then the
    others."""
    kernels = (kernel, *variants(kernel))
    pairs = product(enumerate(kernels), enumerate(flags))
    ordered = sorted(pairs, key=lambda pair: (pair[0][0] + pair[1][0], pair[0][0]))
    return [Choice(variant, flags) for (_, variant), (_, flags) in ordered]


def variants(kernel: Op) -> Iterator[Op]:
    """The variants of a tunable kernel, without repeats and without itself; none of any other."""
    if isinstance(kernel, Tunable):
        yield from (found for found in dict.fromkeys(kernel.variants()) if found != kernel)


def resolve(program: Program, selections: Selections) -> dict[Op, Choice]:
    """The choices for the kernels of `program`. A selection of a variant that no longer exists is none."""
    found = {}
    for kernel in dict.fromkeys(call.kernel for call in program.calls):
        selection = selections.get(key(kernel))
        named = {key(variant): variant for variant in (kernel, *variants(kernel))} if selection else {}
        if selection and selection.variant in named:
            found[kernel] = Choice(named[selection.variant], selection.flags)
    return found


def changing(program: Program, selections: Selections) -> dict[Op, Choice]:
    """Those of `resolve` that make something else of a kernel."""
    return {kernel: choice for kernel, choice in resolve(program, selections).items() if choice != Choice(kernel)}


def choose(program: Program, choices: Choices) -> tuple[Program, dict[Op, Flags]]:
    """`program` with its kernels as chosen, and the flags of those that have any; other kernels stay as they are."""
    calls = tuple(chosen(call, choices) for call in program.calls)
    flags = {choice.kernel: choice.flags for choice in choices.values() if choice.flags}
    return replace(program, calls=calls), flags


def chosen(call: Call, choices: Choices) -> Call:
    """Raises ValueError for a variant that is not a drop-in for the call's kernel: our bug."""
    kernel, choice = call.kernel, choices.get(call.kernel)
    if choice is None or choice.kernel == kernel:
        return call
    edges = (Role.INPUT, Role.OUTPUT)
    if choice.kernel.roles(*edges) != kernel.roles(*edges):
        raise ValueError(f"{choice.kernel} has other inputs or outputs than {kernel}")
    if isinstance(kernel, Repacking):
        narrower = {bits: kernel.repack(constants, choice.kernel) for bits, constants in call.narrower.items()}
        constants = kernel.repack(call.constants, choice.kernel)
        return replace(call, kernel=choice.kernel, constants=constants, narrower=narrower)
    return replace(call, kernel=choice.kernel)
