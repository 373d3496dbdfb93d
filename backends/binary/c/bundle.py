"""A program and its memory plan as C: one header for the application, and the calls in order. No TVM here.

<model>.h           what an application needs: arena size, inputs, outputs, run
<model>.c           run: the kernel calls in order
<model>_profile.c   the same calls with a hook after each, for measuring only
<model>_kernels.h   the kernels' prototypes; their bodies come from TVM
<model>_weights.*   constant arrays
<model>_threads.c   a pool of threads, where calls are cut for them
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from math import prod

import numpy as np

from bevel.backends.binary.c import threads
from bevel.backends.binary.c.constants import Constants, c_type, collect, weights_header, weights_source
from bevel.backends.binary.c.names import comment, identifier, snake_case
from bevel.backends.binary.c.ports import conversions, part_declarations, port_sections
from bevel.backends.binary.c.widths import declarations, setter, state
from bevel.backends.program.memory import ALIGNMENT, Plan
from bevel.backends.program.op import Op, Operand, Role
from bevel.backends.program.program import Asked, Call, Port, Program
from bevel.backends.program.switching import switchings


@dataclass(frozen=True)
class Bundle:
    """Generated files, {name: text}, and the kernels that they call, {symbol: kernel}.

    Kernels in `aliasing` are called with an output that lies on their first input. `told`: what is to be said of
    kernels, beside how they were chosen, by their symbols.
    """

    texts: dict[str, str]
    kernels: dict[str, Op]
    aliasing: frozenset[str]
    calls: tuple[str, ...]  # each call's kernel symbol
    constants: Constants
    told: Mapping[str, Asked] = field(default_factory=dict)


def bundle(program: Program, plan: Plan) -> Bundle:
    """The C files of `program`. Raises ValueError for a program that does not fit its own kernels: our bug."""
    check(program)
    constants = collect(program)
    kernels, calls = share_kernels(program, plan)
    own, converting = conversion_kernels(program)
    kernels |= own
    statements = [statement(program, plan, constants, index, symbol) for index, symbol in enumerate(calls)]
    name = program.name
    texts = {
        f"{name}.h": header(program, plan),
        f"{name}.c": run_source(program, statements)
        + resetting(program, plan)
        + conversions(program, plan, converting),
        f"{name}_profile.c": profile_source(program, statements),
        f"{name}_kernels.h": kernels_header(program, kernels),
        f"{name}_weights.h": weights_header(program, constants),
        f"{name}_weights.c": weights_source(program, constants),
        **threads.pool_source(program),
    }
    aliasing = frozenset(symbol for index, symbol in enumerate(calls) if overwrites(program, plan, index))
    return Bundle(texts, kernels, aliasing, calls, constants)


def check(program: Program) -> None:
    if program.name != identifier(program.name):
        raise ValueError(f"{program.name!r} is no C identifier; bevel.backends.binary.c.names.identifier makes one")
    for call in (*program.entries, *program.calls, *program.exits):
        operands = [one for role in (Role.INPUT, Role.OUTPUT, Role.STATE) for one in call.kernel.roles(role)]
        for span, operand in zip((*call.reads(), *call.writes(), *call.keeps()), operands, strict=True):
            if program.buffers[span.buffer].bytes < span.end:
                what = f"operand {operand} of {call.kernel}"
                raise ValueError(f"{call.node}: buffer {span.buffer} is smaller than {what}")
    for port in (*program.inputs, *program.outputs):
        if program.buffers[port.buffer].bytes < port_bytes(port):
            raise ValueError(f"port {port} is larger than its buffer {program.buffers[port.buffer]}")
    for port in program.outputs:
        if port.buffer in program.constants:
            raise ValueError(f"output {port.name} is a constant: copy it into a buffer of its own")


def share_kernels(program: Program, plan: Plan) -> tuple[dict[str, Op], tuple[str, ...]]:
    """{symbol: kernel} and each call's symbol: <model>_<operator>_<the first call that uses it>."""
    symbols: dict[tuple[Op, bool], str] = {}
    calls = []
    for index, call in enumerate(program.calls):
        merged = overwrites(program, plan, index)
        name = f"{program.name}_{snake_case(type(call.kernel).__name__)}_{index}" + ("_in_place" if merged else "")
        calls.append(symbols.setdefault((call.kernel, merged), name))
    return {symbol: kernel for (kernel, _), symbol in symbols.items()}, tuple(calls)


def overwrites(program: Program, plan: Plan, index: int) -> bool:
    """Whether a call's output lies on its first input: where the plan merged them, and where both are one state."""
    call = program.calls[index]
    same = call.inputs[:1] == (call.output,) and call.input_starts[0] == call.output_start
    return index in plan.in_place_calls or same


def conversion_kernels(program: Program) -> tuple[dict[str, Op], dict[int, str]]:
    """{symbol: kernel} of entries and exits, and the symbol of each, by the call's identity. They share none with
    calls, by whose symbols simulators follow a run."""
    symbols: dict[Op, str] = {}
    for place, call in [*(("in", call) for call in program.entries), *(("out", call) for call in program.exits)]:
        name = f"{program.name}_{snake_case(type(call.kernel).__name__)}_{place}_{len(symbols)}"
        symbols.setdefault(call.kernel, name)
    found = {id(call): symbols[call.kernel] for call in (*program.entries, *program.exits)}
    return {symbol: kernel for kernel, symbol in symbols.items()}, found


def statement(program: Program, plan: Plan, constants: Constants, index: int, symbol: str) -> str:
    """The C call of call `index`."""
    call = program.calls[index]
    places = iter(input_places(plan, constants, call))
    own = len(call.kernel.roles(Role.SCRATCH))
    scratch = iter(plan.scratch[index][:own])
    written = (plan.offsets[span.buffer] + span.first for span in (*call.writes(), *call.keeps()))
    arrays = iter(constant_arguments(program, constants, index, plan.scratch[index][own:]))
    arguments = []
    for operand in call.kernel.operands():
        match operand.role:
            case Role.INPUT:
                arguments.append(pointer(next(places), operand))
            case Role.CONSTANT:
                arguments.append(next(arrays))
            case Role.OUTPUT | Role.STATE:
                arguments.append(pointer(next(written), operand))
            case Role.SCRATCH:
                arguments.append(pointer(next(scratch), operand))
    return f"  /* {index}: {comment(call.node)} */\n  {symbol}({', '.join(arguments)});"


def input_places(plan: Plan, constants: Constants, call: Call) -> Iterator[int | str]:
    """Where each input is: an offset in the arena, or an address in a constant buffer."""
    for name, start in zip(call.inputs, call.input_starts, strict=True):
        if name in constants.buffers:
            symbol = constants.buffers[name]
            yield f"((const uint8_t *){symbol} + {start})" if start else symbol
        else:
            yield plan.offsets[name] + start


def pointer(place: int | str, operand: Operand) -> str:
    """A C expression of the operand's pointer type."""
    if isinstance(place, str):
        return f"({c_pointer(operand)}){place}"
    return f"({c_pointer(operand)})(base + {place})"


def c_pointer(operand: Operand) -> str:
    written = operand.role in (Role.OUTPUT, Role.STATE, Role.SCRATCH)
    return f"{'' if written else 'const '}{c_type(operand.dtype)} *"


def constant_arguments(program: Program, constants: Constants, index: int, room: Iterable[int]) -> Iterator[str]:
    """C expressions of a call's constants; `room`: where in the arena those go that are rounded to fewer bits."""
    call, symbols, free = program.calls[index], constants.operands[index], iter(room)
    if not call.narrower:
        yield from symbols
        return
    changes = zip(symbols, call.constants, switchings(call), constants.exceptions[index], strict=True)
    for symbol, array, change, exceptions in changes:
        if change is None:
            yield symbol
        elif exceptions is None:
            yield f"{symbol} + {array.size} * {program.name}_width()"
        else:
            yield f"{program.name}_rounded(base + {next(free)}, {symbol}, {', '.join(exceptions)})"


def run_source(program: Program, statements: Sequence[str]) -> str:
    if threads.has_teams(program):
        return includes(program) + (state(program) if program.widths else "") + threads.runs(program, statements)
    return f"""{includes(program)}{state(program) if program.widths else ""}
void {program.entry}(void *arena) {{
  uint8_t *const base = arena;
{body(statements)}
}}
"""


def resetting(program: Program, plan: Plan) -> str:
    """The function that forgets the runs before, for programs that keep something."""
    if not program.states:
        return ""
    starts = "\n".join(state_start(program, plan, name) for name in program.states)
    return f"""
void {program.name}_reset(void *arena) {{
  uint8_t *const base = arena;
{starts}
}}
"""


def state_start(program: Program, plan: Plan, name: str) -> str:
    """The loop that writes what a state is where a sequence begins."""
    place, content = plan.offsets[name], program.start(name)
    item = np.dtype(program.buffers[name].dtype).itemsize
    first = content[:item].tolist()
    alike = len(set(first)) == 1
    loop = f"for (uint32_t i = 0; i < {content.size}; i += {1 if alike else item})"
    writes = [f"base[{place + index} + i] = {byte};" for index, byte in enumerate(first[:1] if alike else first)]
    return f"  {loop} {' '.join(writes)}" if len(writes) == 1 else f"  {loop} {{ {' '.join(writes)} }}"


def reset_prototype(program: Program) -> str:
    if not program.states:
        return ""
    return f"""
/* Forget all steps before: call it for a new arena, and where a new sequence begins. Between steps, what the network
 * remembers, {program.state_bytes} bytes, lies in the arena. */
void {program.name}_reset(void *arena);
"""


def profile_source(program: Program, statements: Iterable[str]) -> str:
    hooked = [f"{text}\n  after({index});" for index, text in enumerate(statements)]
    name = program.name
    return f"""/* For measuring only: {program.entry} with a call of `after` behind each kernel call. */
{includes(program)}
void {name}_run_profiled(void *arena, void (*after)(int call));

void {name}_run_profiled(void *arena, void (*after)(int call)) {{
  uint8_t *const base = arena;
{body(hooked)}
}}
"""


def includes(program: Program) -> str:
    return "".join(f'#include "{program.name}{suffix}.h"\n' for suffix in ("", "_kernels", "_weights"))


def body(statements: Iterable[str]) -> str:
    """The statements; `base` is used even where there are none."""
    return "\n".join([*statements, "  (void)base;"])


def kernels_header(program: Program, kernels: dict[str, Op]) -> str:
    guard = f"{program.name.upper()}_KERNELS_H"
    prototypes = [prototype(symbol, kernel) for symbol, kernel in kernels.items()]
    prototypes += part_declarations(program)
    if program.widths:
        prototypes.append(declarations(program.name))
    return "\n".join([f"#ifndef {guard}", f"#define {guard}", "#include <stdint.h>", "", *prototypes, "", "#endif", ""])


def prototype(symbol: str, kernel: Op) -> str:
    return f"void {symbol}({parameters(kernel)});"


def parameters(kernel: Op) -> str:
    return ", ".join(f"{c_pointer(operand)}{operand.name.lower()}" for operand in kernel.operands())


def header(program: Program, plan: Plan) -> str:
    name, upper = program.name, program.name.upper()
    sections = list(port_sections(program, plan))
    fill = "call {0}_set_input_...(arena, values)" if program.entries else "fill the inputs (below)"
    what = "One step of a sequence" if program.states else "One inference"
    read = "call {0}_get_output_...(arena, values)" if program.exits else "read the outputs"
    return f"""/* {name}: an integer neural network, generated by Bevel.
 *
 *   static uint8_t arena[{upper}_ARENA_BYTES] __attribute__((aligned({upper}_ARENA_ALIGN)));
 *   {fill.format(name)}, call {program.entry}(arena), {read.format(name)}.
 *
 * All working memory is the arena; nothing is allocated, and two arenas may run at the same time. Inputs are consumed:
 * write all of them again before every run. Outputs stay until the next run or the next write to an input. Values of
 * several bytes lie in the core's order, which must be little-endian.
 *
 * Who compiles the sources anew: C11 with GNU extensions (-std=gnu11 or later), -O2 or -O3, and -fno-strict-aliasing,
 * as the arena holds values of different types in turn; no -ffast-math, and -ffp-contract=off where there are floats.
 */
#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_BEVEL_VERSION "{metadata.version("bevel")}"
{sha256_macro(program)}#define {upper}_ARENA_BYTES {max(plan.arena_bytes, ALIGNMENT)}
#define {upper}_ARENA_ALIGN {ALIGNMENT}
#define {upper}_INPUTS {len(program.inputs)}
#define {upper}_OUTPUTS {len(program.outputs)}

/* {what}. `arena` must be {upper}_ARENA_BYTES long and aligned to {upper}_ARENA_ALIGN bytes. */
void {program.entry}(void *arena);
{reset_prototype(program)}{setter(program) if program.widths else ""}{threads.header_section(program)}
{chr(10).join(sections)}
#ifdef __cplusplus
}}
#endif

#endif
"""


def sha256_macro(program: Program) -> str:
    if not program.sha256:
        return ""
    return f'#define {program.name.upper()}_MODEL_SHA256 "{program.sha256}" /* of integer.onnx */\n'


def port_bytes(port: Port) -> int:
    return prod(port.shape) * np.dtype(port.dtype).itemsize
