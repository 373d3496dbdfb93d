"""A run of a program whose calls are partly the device's: which buffers go where, and when.

Host and device hold an arena each, laid out alike. A call of the host reads what it needs behind the device, a launch
reads what the host made before it: nothing is copied twice, and calls in a row of one side copy nothing between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bevel.backends.program.op import Role
from bevel.backends.program.program import Call, Program, Span


@dataclass(frozen=True)
class Upload:
    span: Span


@dataclass(frozen=True)
class Download:
    span: Span


@dataclass(frozen=True)
class HostCall:
    """Runs when all that was put into the queue before is done."""

    call: int


@dataclass(frozen=True)
class DeviceCall:
    call: int


Action = Upload | Download | HostCall | DeviceCall


def on_device(call: Call) -> bool:
    """Whether a call is the device's: integers alone mean the same on every device. Floats stay on the host."""
    activations = call.kernel.roles(Role.INPUT, Role.OUTPUT, Role.STATE)
    return call.kernel.exact and not any(one.dtype.startswith("float") for one in activations)


def actions(program: Program) -> Iterator[Action]:
    """What a run does, in order."""
    host, device = {span.buffer for span in given(program)}, set(program.states)
    for index, call in enumerate(program.calls):
        here, there = (device, host) if on_device(call) else (host, device)
        needed = [span for span in (*call.reads(), *call.keeps()) if span.buffer not in program.constants]
        partly = [span for span in call.writes() if span.buffer in there and not covers(program, span)]
        for name in dict.fromkeys(span.buffer for span in (*needed, *partly)):
            if name not in here and name in there:
                yield (Upload if on_device(call) else Download)(whole(program, name))
                here.add(name)
        yield DeviceCall(index) if on_device(call) else HostCall(index)
        for span in (*call.writes(), *call.keeps()):
            here.add(span.buffer)
            there.discard(span.buffer)
    for span in taken(program):
        if span.buffer not in host:
            yield Download(span)


def whole(program: Program, name: str) -> Span:
    return Span(name, 0, program.buffers[name].bytes)


def covers(program: Program, span: Span) -> bool:
    return span == whole(program, span.buffer)


def given(program: Program) -> list[Span]:
    """What the application, or conversions before a run, write into the host's arena."""
    ports = [port.buffer for port in program.inputs if port.buffer not in program.outside]
    names = dict.fromkeys((*ports, *(call.output for call in program.entries)))
    return [whole(program, name) for name in names if name not in program.states]


def taken(program: Program) -> list[Span]:
    """What the application, or conversions behind a run, read from the host's arena."""
    ports = [port.buffer for port in program.outputs if port.buffer not in program.outside]
    names = dict.fromkeys((*ports, *(name for call in program.exits for name in call.inputs)))
    return [whole(program, name) for name in names if name not in program.constants]
