"""A program and its memory plan as C around the kernels of a device.

<model>.h           what an application needs: arena size, inputs, outputs, init, run, enqueue, destroy
<model>.c           run: what goes to the device, what is launched there, what comes back
<model>_device.c    the device's side: buffers, kernels, the queue
<model>_driver.h    what that side is with any driver
<model>_opencl.h    what is called of OpenCL, where it is that; <model>_kept.h: binaries that are kept
<model>_tables.c    launches, their arguments, what goes to the device once
<model>_source.c    the kernels' source
<model>_weights.*   constant arrays
<model>_kernels.json  what is known of each call's kernels without running them
<model>_profile.c   a run with all outputs of each call brought back behind it, for measuring only
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from bevel.backends.binary.c.bundle import (
    Bundle,
    check,
    conversion_kernels,
    kernels_header,
    overwrites,
    share_kernels,
)
from bevel.backends.binary.c.constants import Constants, collect, weights_header, weights_source
from bevel.backends.binary.c.ports import conversions
from bevel.backends.gpu import binding, headers, profiling, statics
from bevel.backends.gpu.chip import Chip
from bevel.backends.gpu.embedded import Embedded
from bevel.backends.gpu.launched import DeviceCode
from bevel.backends.gpu.lines import RunLines
from bevel.backends.gpu.statics import CallStatics, Taken
from bevel.backends.gpu.tables import Tables, tables
from bevel.backends.gpu.transfers import HostCall, actions, on_device
from bevel.backends.program.memory import Plan
from bevel.backends.program.op import Op
from bevel.backends.program.program import THREADS, Asked, Program


@dataclass(frozen=True)
class HostAndDevice:
    """The kernels of the device and those of the host, by symbol; each call's symbol; and those whose output lies on
    their input."""

    device: dict[str, Op]
    host: dict[str, Op]
    calls: tuple[str, ...]
    aliasing: frozenset[str]


def sides(program: Program, plan: Plan) -> HostAndDevice:
    kernels, calls = share_kernels(program, plan)
    own = {symbol for symbol, call in zip(calls, program.calls, strict=True) if on_device(call)}
    device = {symbol: kernel for symbol, kernel in kernels.items() if symbol in own}
    host = {symbol: kernel for symbol, kernel in kernels.items() if symbol not in own}
    aliasing = frozenset(symbol for index, symbol in enumerate(calls) if overwrites(program, plan, index))
    return HostAndDevice(device, host, calls, aliasing)


@dataclass(frozen=True)
class Interface:
    """How a device is spoken to: the file of `backends/gpu/c/` that does, and what a queue and a buffer are called
    there. `embedded`: the kernels; `files`: for readers, by their names' endings; `taken`: what is known of device
    functions, by name; `headers`: other files there that the first one includes, by the endings of their names."""

    runtime: str
    queue: str
    buffer: str
    embedded: Embedded
    files: Mapping[str, str] = field(default_factory=dict)
    taken: Mapping[str, Taken] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def product(
    program: Program, plan: Plan, split: HostAndDevice, code: DeviceCode, interface: Interface, chip: Chip
) -> Bundle:
    """The files of `program`. `code`: of the device's kernels."""
    check(program)
    constants, name, run = collect(program), program.name, list(actions(program))
    converting, symbols = conversion_kernels(program)
    numbers = tables(program, plan, constants, split.calls, code)
    known = statics.statics(program, split.calls, code, interface.taken, chip)
    lines = RunLines(program, plan, constants, split.calls, numbers)
    bound = binding.declarations(program, numbers.inputs, interface.buffer)
    asynchronous = not any(isinstance(one, HostCall) for one in run)
    texts = {
        f"{name}.h": headers.application(program, plan, interface.queue, asynchronous, bound),
        f"{name}.c": lines.run_source(run, asynchronous)
        + lines.resetting()
        + binding.definitions(program, numbers.inputs)
        + conversions(program, plan, symbols),
        f"{name}_device.h": headers.device(program, plan, numbers, interface.embedded.declaration),
        f"{name}_device.c": runtime(interface.runtime, name),
        f"{name}_driver.h": runtime("driver.h", name),
        **{f"{name}_{ending}": runtime(file, name) for ending, file in interface.headers.items()},
        f"{name}_tables.c": tables_source(program, numbers, constants),
        f"{name}_source.c": interface.embedded.definition,
        f"{name}_profile.h": profiling.header(program),
        f"{name}_profile.c": profiling.source(lines, run),
        f"{name}_kernels.h": kernels_header(program, split.host | converting),
        f"{name}_weights.h": weights_header(program, constants),
        f"{name}_weights.c": weights_source(program, constants),
        f"{name}{statics.FILE}": statics.to_json(known),
    } | {f"{name}{ending}": text for ending, text in interface.files.items()}
    told = threads_told(split, code, interface.taken, known)
    return Bundle(texts, split.host | converting, split.aliasing, split.calls, constants, told)


def runtime(file: str, model: str) -> str:
    """A file of `backends/gpu/c/`, for a model."""
    return files("bevel.backends.gpu").joinpath("c", file).read_text(encoding="utf-8").replace("MODEL", model)


def threads_told(
    split: HostAndDevice, code: DeviceCode, functions: Mapping[str, Taken], calls: Sequence[CallStatics]
) -> dict[str, Asked]:
    """How each kernel runs: on the device, in how many launches and threads, or on the host."""
    told = {symbol: "floats: on the host" for symbol in split.host}
    least = {symbol: one.least_s for symbol, one in zip(split.calls, calls, strict=True) if one.least_s is not None}
    for symbol, launches in code.launches.items():
        most = max((one.groups * one.threads for one in launches), default=0)
        times = f"{len(launches)} launch{'es' if len(launches) > 1 else ''}, {most} thread{'s' if most > 1 else ''}"
        known = dict.fromkeys(str(functions[one.function]) for one in launches if one.function in functions)
        parts = [times, *known, f"{statics.moved(split.device[symbol]):,} bytes moved at least (static)"]
        parts += [f"{1e6 * least[symbol]:.3g} us at least (estimate: roofline)"] if symbol in least else []
        whole = "; ".join(parts)
        told[symbol] = f"{whole}: {why}" if (why := code.serial[symbol]) else whole
    return {symbol: Asked(THREADS, text) for symbol, text in told.items()}


def tables_source(program: Program, numbers: Tables, constants: Constants) -> str:
    name, first = program.name, 0
    launches = []
    for one in numbers.rows:
        started = one.started
        launches.append(
            f'    {{"{started.function}", {started.groups}, {started.threads}, {first}, {len(one.arguments)}}},'
        )
        first += len(one.arguments)
    arguments = [f"    {{{one.memory}, {one.value}}}," for each in numbers.rows for one in each.arguments]
    sizes = {one.symbol: one.array.nbytes for one in constants.arrays}
    rows = [f"    {{{start}, {count}}}," for start, count in numbers.stretches]
    firsts, uses = binding.as_rows(numbers.inputs)
    weights = [f"    {{{symbol}, {place}, {sizes[symbol]}}}," for symbol, place in numbers.weights.items()]
    return f"""#include "{name}_device.h"
#include "{name}_weights.h"

const uint32_t {name}_memory_bytes[] = {{{", ".join(map(str, numbers.bytes))}}};

const struct {name}_launch {name}_launches[] = {{
{rows_of(launches, '"", 0, 0, 0, 0')}
}};

const struct {name}_argument {name}_arguments[] = {{
{rows_of(arguments, "0, 0")}
}};

const struct {name}_stretch {name}_stretches[] = {{
{rows_of(rows, "0, 0")}
}};

const struct {name}_input {name}_inputs[] = {{
{rows_of(firsts, "0, 0")}
}};

const struct {name}_use {name}_uses[] = {{
{rows_of(uses, "0, 0, 0")}
}};

const struct {name}_constant {name}_constants[] = {{
{rows_of(weights, "0, 0, 0")}
}};
"""


def rows_of(rows: Sequence[str], none: str) -> str:
    """C has no empty arrays."""
    return "\n".join(rows or [f"    {{{none}}},"])
