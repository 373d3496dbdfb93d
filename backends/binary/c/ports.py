"""What a header says of inputs and outputs, and the functions that convert those that the arena holds as integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod

import numpy as np

from bevel.backends.binary.c.constants import c_type
from bevel.backends.binary.c.names import comment, unique_identifiers
from bevel.backends.program.memory import Plan
from bevel.backends.program.op import Role
from bevel.backends.program.program import Call, Port, Program


@dataclass(frozen=True)
class NamedPort:
    """A port, its name in C, and the conversions between the application's memory and the arena, if it has any."""

    port: Port
    plain: str
    conversions: tuple[Call, ...]


def named_inputs(program: Program) -> list[NamedPort]:
    return named(program.inputs, {port.buffer: readers(program.entries, port.buffer) for port in program.inputs})


def named_outputs(program: Program) -> list[NamedPort]:
    return named(program.outputs, {port.buffer: writers(program.exits, port.buffer) for port in program.outputs})


def named(ports: Sequence[Port], conversions: dict[str, tuple[Call, ...]]) -> list[NamedPort]:
    names = unique_identifiers(port.name for port in ports)
    return [NamedPort(port, plain, conversions[port.buffer]) for port, plain in zip(ports, names, strict=True)]


def readers(calls: Sequence[Call], buffer: str) -> tuple[Call, ...]:
    return tuple(call for call in calls if buffer in call.inputs)


def writers(calls: Sequence[Call], buffer: str) -> tuple[Call, ...]:
    return tuple(call for call in calls if call.output == buffer)


# The header


def port_sections(program: Program, plan: Plan) -> Iterator[str]:
    """Macros and accessors of every input, then of every output."""
    inputs, outputs = named_inputs(program), named_outputs(program)
    for role, found in (("input", inputs), ("output", outputs)):
        for one in found:
            yield port_section(program.name, role, one, plan)
    yield from only_port(program.name, inputs, "set_input", "void *arena, const float *values")
    yield from only_port(program.name, outputs, "get_output", "const void *arena, float *values")


def port_section(model: str, role: str, one: NamedPort, plan: Plan) -> str:
    port, upper = one.port, f"{model}_{role}_{one.plain}".upper()
    shape = " x ".join(map(str, port.shape)) or "scalar"
    told = f"{role.capitalize()} '{comment(port.name)}': {port.dtype} [{shape}], row-major"
    macros = [
        f"#define {upper}_ELEMENTS {prod(port.shape)}",
        f"#define {upper}_RANK {len(port.shape)}",
        f"#define {upper}_DIMS {{{', '.join(map(str, port.shape)) or 1}}}",
    ]
    if isinstance(port.scale, tuple):
        told += f"; real = scale * (value - zero point), of the element's index along axis {port.axis}"
        macros += parts_macros(upper, port)
    elif port.scale is not None:
        zero_point = port.zero_point or 0
        told += f"; real = {float_text(port.scale)} * (value - {zero_point})"
        macros += [f"#define {upper}_SCALE {float_text(port.scale)}f", f"#define {upper}_ZERO_POINT ({zero_point})"]
    if one.conversions:
        way = "converted from `values` into the arena" if role == "input" else "converted from the arena to `values`"
        return "\n".join([f"/* {told}; {way}. */", *macros, f"{conversion_prototype(model, role, one)};", ""])
    kind, offset = c_type(port.dtype), plan.offsets[port.buffer]
    accessor = [
        f"static inline {kind} *{model}_{role}_{one.plain}(void *arena) {{",
        f"  return ({kind} *)((uint8_t *)arena + {offset});",
        "}",
    ]
    return "\n".join([f"/* {told}. */", *macros, *accessor, ""])


def parts_macros(upper: str, port: Port) -> list[str]:
    """Initializers of arrays with one element for each index along the axis."""
    scale, zero_point = (one.ravel().tolist() for one in port.parameters)
    return [
        f"#define {upper}_AXIS {port.axis}",
        f"#define {upper}_SCALES {{{', '.join(f'{float_text(one)}f' for one in scale)}}}",
        f"#define {upper}_ZERO_POINTS {{{', '.join(map(str, zero_point))}}}",
    ]


def only_port(model: str, ports: Sequence[NamedPort], verb: str, parameters: str) -> Iterator[str]:
    """A name without the port's, where there is one port."""
    if len(ports) == 1 and ports[0].conversions:
        called = f"{model}_{verb}_{ports[0].plain}(arena, values);"
        yield f"static inline void {model}_{verb}({parameters}) {{ {called} }}\n"


def conversion_prototype(model: str, role: str, one: NamedPort) -> str:
    if role == "input":
        return f"void {model}_set_input_{one.plain}(void *arena, const float *values)"
    return f"void {model}_get_output_{one.plain}(const void *arena, float *values)"


def float_text(value: float) -> str:
    """Enough digits to give the same float32 back, with a decimal point."""
    text = f"{np.float32(value):.9g}"
    return text if any(mark in text for mark in ".e") else f"{text}.0"


# The functions


def part_prototype(model: str, one: NamedPort) -> str:
    return f"uint32_t {model}_get_output_{one.plain}_part(const void *arena, uint32_t part, float *values)"


def part_declarations(program: Program) -> list[str]:
    """For who has no room for a whole output: each call converts the next elements; 0 when there are none."""
    return [f"{part_prototype(program.name, one)};" for one in named_outputs(program) if one.conversions]


def conversions(program: Program, plan: Plan, symbols: dict[int, str]) -> str:
    """Definitions; `symbols`: the kernel of each entry and exit, by the call's identity."""
    name = program.name
    inputs = [setter(name, one, plan, symbols) for one in named_inputs(program) if one.conversions]
    outputs = [getter(name, one, plan, symbols) for one in named_outputs(program) if one.conversions]
    return "".join(f"\n{text}\n" for text in (*inputs, *outputs))


def setter(model: str, one: NamedPort, plan: Plan, symbols: dict[int, str]) -> str:
    calls = []
    for call in one.conversions:
        (written,) = call.kernel.roles(Role.OUTPUT)
        calls.append(f"  {symbols[id(call)]}(values, ({c_type(written.dtype)} *)(base + {plan.offsets[call.output]}));")
    text = "\n".join(calls)
    return f"{conversion_prototype(model, 'input', one)} {{\n  uint8_t *const base = (uint8_t *)arena;\n{text}\n}}"


def getter(model: str, one: NamedPort, plan: Plan, symbols: dict[int, str]) -> str:
    alike = groupby(one.conversions, key=lambda call: (symbols[id(call)], call.inputs))
    cases = "\n".join(part_case(tuple(calls), plan, symbols) for _, calls in alike)
    return f"""{part_prototype(model, one)} {{
  const uint8_t *const base = (const uint8_t *)arena;
{cases}
  return 0;
}}

{conversion_prototype(model, "output", one)} {{
  uint32_t count;
  for (uint32_t part = 0; (count = {model}_get_output_{one.plain}_part(arena, part, values)) != 0; ++part)
    values += count;
}}"""


def part_case(calls: Sequence[Call], plan: Plan, symbols: dict[int, str]) -> str:
    """Parts of one size, whose places follow each other."""
    call, count = calls[0], len(calls)
    (read,) = call.kernel.roles(Role.INPUT)
    starts = [one.input_starts[0] for one in calls]
    if starts != [starts[0] + index * read.bytes for index in range(count)]:
        raise ValueError(f"{call.node}: the parts of an output do not follow each other")
    place = f"base + {plan.offsets[call.inputs[0]] + starts[0]}" + (f" + part * {read.bytes}" if count > 1 else "")
    return f"""  if (part < {count}) {{
    {symbols[id(call)]}((const {c_type(read.dtype)} *)({place}), values);
    return {read.size};
  }}
  part -= {count};"""
