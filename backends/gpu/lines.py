"""A run as C, action by action: what goes to the device, what is launched there, what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bevel.backends.binary.c.bundle import state_start, statement
from bevel.backends.binary.c.constants import Constants
from bevel.backends.binary.c.names import comment
from bevel.backends.gpu.tables import Tables
from bevel.backends.gpu.transfers import Action, DeviceCall, Download, HostCall, Upload
from bevel.backends.program.memory import Plan
from bevel.backends.program.program import Program, Span

TRY = """#define TRY(call)                 \\
  do {                            \\
    const char *const why = call; \\
    if (why) return why;          \\
  } while (0)
"""


@dataclass(frozen=True)
class RunLines:
    """The C of a run, action by action."""

    program: Program
    plan: Plan
    constants: Constants
    symbols: tuple[str, ...]
    numbers: Tables

    def of(self, action: Action, waits: bool) -> str:
        """waits: whether something is in the queue that a call of the host must wait for."""
        name = self.program.name
        match action:
            case Upload(span):
                inputs = [one.buffer for one in self.numbers.inputs]
                if span.buffer in inputs:
                    return f"  TRY({name}_upload_input(arena, {inputs.index(span.buffer)}, {self.place(span)}));"
                return f"  TRY({name}_upload(arena, {self.place(span)}));"
            case Download(span):
                return f"  TRY({name}_download(arena, {self.place(span)}));"
            case DeviceCall(index):
                first, count = self.numbers.calls[index]
                told = comment(self.program.calls[index].node)
                return f"  TRY({name}_start(arena, {first}, {count})); /* {index}: {told} */"
            case HostCall(index):
                text = statement(self.program, self.plan, self.constants, index, self.symbols[index])
                return (f"  TRY({name}_wait(arena));\n" if waits else "") + text

    def place(self, span: Span) -> str:
        return f"{self.plan.offsets[span.buffer] + span.first}, {span.end - span.first}"

    def all(self, run: Sequence[Action]) -> str:
        """Calls of the device in a row are put into the queue together."""
        lines, waits, stretches = [], False, 0
        for device, several in groupby(run, lambda one: isinstance(one, DeviceCall)):
            for action in several:
                lines.append(self.told(action) if isinstance(action, DeviceCall) else self.of(action, waits))
                waits = not isinstance(action, HostCall)
            if device:
                lines.append(f"  TRY({self.program.name}_stretch(arena, {stretches}));")
                stretches += 1
        return "\n".join(lines)

    def told(self, action: DeviceCall) -> str:
        return f"  /* {action.call}: {comment(self.program.calls[action.call].node)} */"

    def run_source(self, run: Sequence[Action], asynchronous: bool) -> str:
        name, entry = self.program.name, self.program.entry
        base = "" if asynchronous else "  uint8_t *const base = (uint8_t *)arena;\n"
        static = "" if asynchronous else f"static const char *{name}_enqueue(void *arena);\n\n"
        return f"""#include "{name}_device.h"
#include "{name}_kernels.h"
#include "{name}_weights.h"

{TRY}
{static}{"" if asynchronous else "static "}const char *{name}_enqueue(void *arena) {{
{base}{self.all(run)}
  return NULL;
}}

const char *{entry}(void *arena) {{
  TRY({name}_enqueue(arena));
  return {name}_wait(arena);
}}
"""

    def resetting(self) -> str:
        """What forgets the runs before, for programs that keep something: both sides begin anew."""
        program = self.program
        if not program.states:
            return ""
        starts = "\n".join(state_start(program, self.plan, name) for name in program.states)
        whole = [Span(name, 0, program.buffers[name].bytes) for name in program.states]
        uploads = "\n".join(self.of(Upload(span), False) for span in whole)
        return f"""
const char *{program.name}_reset(void *arena) {{
  uint8_t *const base = (uint8_t *)arena;
{starts}
{uploads}
  return {program.name}_wait(arena);
}}
"""
