"""Inputs that the application may give where they lie on the device already: buffers of its own, which are not copied.

    <model>_bind_input_x(arena, buffer, offset)     kernels read `x` there from now on, and nothing is uploaded for it

An input is one of these where kernels of the device alone read it, and nothing writes it: integers, without a
conversion by the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bevel.backends.binary.c.names import comment
from bevel.backends.binary.c.ports import named_inputs
from bevel.backends.gpu.arguments import Row
from bevel.backends.gpu.transfers import on_device, taken
from bevel.backends.program.memory import Plan
from bevel.backends.program.program import Call, Program


@dataclass(frozen=True)
class Use:
    """An argument that is such an input: the launch, the place among its arguments, bytes from the input's first."""

    launch: int
    argument: int
    first: int


@dataclass(frozen=True)
class Bindable:
    """`plain`: the input's name in C; `name`: its own."""

    plain: str
    name: str
    buffer: str
    bytes: int
    uses: tuple[Use, ...]


def bindable(program: Program, plan: Plan, rows: Sequence[Row]) -> tuple[Bindable, ...]:
    """In the order of the inputs."""
    hosts = {span.buffer for call in program.calls if not on_device(call) for span in call.reads()}
    written = {name for call in program.calls for name in names_written(call)}
    others = {*hosts, *written, *program.states, *(span.buffer for span in taken(program))}
    return tuple(
        Bindable(
            one.plain,
            one.port.name,
            one.port.buffer,
            program.buffers[one.port.buffer].bytes,
            tuple(uses(rows, one.port.buffer, plan.offsets[one.port.buffer])),
        )
        for one in named_inputs(program)
        if not one.conversions and one.port.buffer not in others
    )


def names_written(call: Call) -> Iterator[str]:
    yield from (span.buffer for span in (*call.writes(), *call.keeps()))


def uses(rows: Sequence[Row], buffer: str, offset: int) -> Iterator[Use]:
    for launch, row in enumerate(rows):
        for place, argument in enumerate(row.arguments):
            if argument.buffer == buffer:
                yield Use(launch, place, argument.value - offset)


def declarations(program: Program, inputs: Sequence[Bindable], buffer: str) -> str:
    """For the application. `buffer`: what a buffer of the device is called on its interface."""
    return "".join(
        f"""
/* Have input '{comment(one.name)}' read from {buffer}: {one.bytes} bytes from `offset` on, a multiple of 64.
 * No run copies it. NULL: from the arena again. Behind {program.name}_init, and between runs; what was recorded is
 * forgotten. */
const char *{program.name}_bind_input_{one.plain}(void *arena, void *buffer, size_t offset);
"""
        for one in inputs
    )


def definitions(program: Program, inputs: Sequence[Bindable]) -> str:
    name = program.name
    return "".join(
        f"""
const char *{name}_bind_input_{one.plain}(void *arena, void *buffer, size_t offset) {{
  return {name}_bind(arena, {index}, buffer, offset);
}}
"""
        for index, one in enumerate(inputs)
    )


def as_rows(inputs: Sequence[Bindable]) -> tuple[list[str], list[str]]:
    """The tables' rows: of each input the first of its uses and how many there are, and all uses."""
    firsts: list[str] = []
    every: list[str] = []
    for one in inputs:
        firsts.append(f"    {{{len(every)}, {len(one.uses)}}},")
        every += [f"    {{{use.launch}, {use.argument}, {use.first}}}," for use in one.uses]
    return firsts, every
