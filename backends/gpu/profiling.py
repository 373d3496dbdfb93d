"""The run that is measured: all outputs of each call are back in the host's arena behind it, for whoever looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from bevel.backends.binary.c.ports import NamedPort, named_inputs, named_outputs
from bevel.backends.gpu import trace
from bevel.backends.gpu.lines import TRY, RunLines
from bevel.backends.gpu.transfers import Action, DeviceCall, Download, HostCall
from bevel.backends.program.program import Program, Span


def header(program: Program) -> str:
    name = program.name
    return f"""/* For measuring only. */
#include "{name}_device.h"

#ifdef __cplusplus
extern "C" {{
#endif

extern const uint32_t {name}_written[][3]; /* call, offset in the arena, bytes */
extern const uint32_t {name}_written_count;

/* A port's values, by its number, into the arena and out of it. */
void {name}_fill(void *arena, int port, const void *values);
void {name}_fetch(void *arena, int port, void *values);

const char *{name}_run_profiled(void *arena, void (*after)(void *context, int call), void *context);

/* With -D{name}_TIMED, what the device's own clock says. Whether it is a CPU. Have launches timed: before {name}_init.
 * How long each launch of the run before took, {name}_LAUNCHES of them. */
int {name}_on_cpu(const void *arena);
void {name}_time_launches(void);
const char *{name}_launch_times(void *arena, uint64_t *nanoseconds);

#ifdef __cplusplus
}}
#endif
"""


def source(lines: RunLines, run: Sequence[Action]) -> str:
    program, name, spans = lines.program, lines.program.name, list(written(lines.program))
    rows = "\n".join(f"    {{{index}, {lines.place(span)}}}," for index, span in spans) or "    {0, 0, 0},"
    inputs = "\n".join(f"  case {number}: {put(name, one)} break;" for number, one in enumerate(named_inputs(program)))
    outputs = "\n".join(
        f"  case {number}: {get(name, one)} break;" for number, one in enumerate(named_outputs(program))
    )
    return f"""/* For measuring only: {program.entry} with a call of `after` behind each call. */
#include "{name}_profile.h"

#include "{name}_kernels.h"
#include "{name}_weights.h"
#include <string.h>

{TRY}
const uint32_t {name}_written[][3] = {{
{rows}
}};
const uint32_t {name}_written_count = {len(spans)};

void {name}_fill(void *arena, int port, const void *values) {{
  switch (port) {{
{inputs}
  }}
}}

void {name}_fetch(void *arena, int port, void *values) {{
  switch (port) {{
{outputs}
  }}
}}

const char *{name}_run_profiled(void *arena, void (*after)(void *context, int call), void *context) {{
  uint8_t *const base = (uint8_t *)arena;
  (void)base;
{profiled(lines, run, spans)}
  return {name}_wait(arena);
}}
"""


def profiled(lines: RunLines, run: Sequence[Action], spans: Sequence[tuple[int, Span]]) -> str:
    """The statements of the run."""
    text = []
    for action in run:
        text.append(lines.of(action, waits=True))
        match action:
            case DeviceCall(index):
                text += [lines.of(Download(span), waits=False) for owner, span in spans if owner == index]
                text.append(f"  TRY({lines.program.name}_wait(arena));\n  after(context, {index});")
            case HostCall(index):
                text.append(f"  after(context, {index});")
    return "\n".join(text)


def written(program: Program) -> Iterator[tuple[int, Span]]:
    """All that calls write, each with its call's number."""
    for index, call in enumerate(program.calls):
        yield from ((index, span) for span in trace.written(call))


def put(model: str, one: NamedPort) -> str:
    if one.conversions:
        return f"{model}_set_input_{one.plain}(arena, (const float *)values);"
    return f"memcpy({model}_input_{one.plain}(arena), values, {bytes_of(one)});"


def get(model: str, one: NamedPort) -> str:
    if one.conversions:
        return f"{model}_get_output_{one.plain}(arena, (float *)values);"
    return f"memcpy(values, {model}_output_{one.plain}(arena), {bytes_of(one)});"


def bytes_of(one: NamedPort) -> int:
    return prod(one.port.shape) * int(np.dtype(one.port.dtype).itemsize)
