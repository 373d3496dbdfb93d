"""What a built model takes of a device's flash and RAM, read from its object files, and whether that fits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bevel.backends.binary import elf, wasm
from bevel.backends.binary.c.constants import Constants
from bevel.backends.binary.elf import Elf, Section
from bevel.backends.program.memory import Plan
from bevel.backends.program.program import Program
from bevel.backends.program.resources import Resource, Resources, told
from bevel.backends.target import CHANGEABLE, Target
from bevel.calib.errors import UserError

# What an interrupt pushes with floating-point registers (104 bytes), and the frames of compiler helpers that kernels
# call, such as 64-bit multiplication on a Cortex-M0+; the compiler's stack report does not include them.
STACK_MARGIN = 256
STACK_FLAGS = {"gcc": "-fstack-usage", "zig": "-fstack-size-section"}  # how a compiler is asked for frame sizes
LARGEST = 3  # tensors that a message names
ARENA_SECTION = ".arena"
VECTORS_SECTION = ".vectors"
STACK_SECTION = ".stack"  # reserved generously by the firmware; what is needed is in the sizes


def least_sizes(plan: Plan, constants: Constants) -> Resources:
    """What is known before anything is compiled: weights and arena."""
    return sizes_of(constants.bytes, plan, static=0, stack=0) | {Resource.WEIGHTS: constants.bytes}


def object_sizes(folder: Path, model: str, objects: Sequence[str], plan: Plan) -> Resources:
    """The model alone: before linking, without the program around it."""
    if wasm.is_wasm((folder / objects[0]).read_bytes()):
        return sizes_of(sum(module_bytes(folder / name) for name in objects), plan, static=0, stack=0)
    sections = [section for name in objects for section in allocated(elf.read(folder / name).sections)]
    flash = sum(section.size for section in sections if section.has_bytes)
    static = sum(section.size for section in sections if section.writable)
    return sizes_of(flash, plan, static, stack_bytes(folder, model))


def file_sizes(path: Path, model: Resources, plan: Plan) -> Resources:
    """The linked product: firmware without its test vectors, a shared library, or a module of WebAssembly, which has no
    report of its stack. Stack and arena are the model's."""
    if wasm.is_wasm(path.read_bytes()):
        return sizes_of(module_bytes(path), plan, static=0, stack=model.whole(Resource.STACK))
    sections = allocated(elf.read(path).sections)
    own = [section for section in sections if section.name not in (VECTORS_SECTION, ARENA_SECTION, STACK_SECTION)]
    flash = sum(section.size for section in own if section.has_bytes)
    static = sum(section.size for section in own if section.writable)
    return sizes_of(flash, plan, static, model.whole(Resource.STACK))


def module_bytes(path: Path) -> int:
    """Of code and data in a file of WebAssembly."""
    return sum(size for kind, size in wasm.sections(path.read_bytes()) if kind in (wasm.CODE, wasm.DATA))


def sizes_of(flash: int, plan: Plan, static: int, stack: int) -> Resources:
    """`static` is data that is neither arena nor stack; `stack` the deepest path of one inference, from the compiler's
    report: the frames of `run` and of its largest kernel, and a margin."""
    parts = {Resource.ARENA: plan.arena_bytes, Resource.STATIC: static, Resource.STACK: stack}
    return Resources({Resource.FLASH: flash, Resource.RAM: sum(parts.values()), **parts})


def allocated(sections: Iterable[Section]) -> list[Section]:
    return [section for section in sections if section.allocated]


def stack_bytes(folder: Path, model: str) -> int:
    """From the reports that STACK_FLAGS asked for, beside the objects."""
    run = max(frames(folder / f"{model}.o"), default=0)
    kernels = [frame for path in sorted(folder.glob(f"{model}_kernels*.o")) for frame in frames(path)]
    return run + max(kernels, default=0) + STACK_MARGIN


def frames(object_file: Path) -> list[int]:
    """The stack frame of each function, in bytes; nothing where the compiler was not asked (TVM's own objects)."""
    report = object_file.with_suffix(".su")
    return gcc_frames(report) if report.exists() else clang_frames(elf.read(object_file))


def gcc_frames(report: Path) -> list[int]:
    """Lines of 'file:line:column:function<TAB>bytes<TAB>static'."""
    return [int(line.split("\t")[1]) for line in report.read_text(encoding="utf-8").splitlines() if "\t" in line]


def clang_frames(read: Elf) -> list[int]:
    """Entries of a function's address and its frame as an unsigned LEB128 number."""
    sections = [read.bytes_of(section) for section in read.sections if section.name == ".stack_sizes"]
    return [frame for data in sections for frame in stack_entries(data, address_bytes=8 if read.wide else 4)]


def stack_entries(data: bytes, address_bytes: int) -> Iterator[int]:
    at = 0
    while at < len(data):
        start = at + address_bytes
        at = next(place for place in range(start, len(data)) if data[place] < 128) + 1
        yield sum((byte & 127) << 7 * index for index, byte in enumerate(data[start:at]))


def check_fits(sizes: Resources, target: Target, program: Program, plan: Plan, constants: Constants) -> None:
    """Raises UserError that says by how much a limit of the target is exceeded, and which tensors are the largest."""
    for name, over in sizes.beyond(target.limits).items():
        option, reason = "", ""
        match name:
            case Resource.FLASH:
                largest = ", ".join(f"{c.use} {c.array.nbytes:,}" for c in constants.largest(LARGEST))
                reason = f" (largest weights: {largest})"
            case Resource.RAM:
                integers = sizes[name] - plan.arena_bytes + live_with_integer_inputs(program, plan)
                option = "--inputs quantized, " if integers <= target.limits[name] else ""
                reason = f" ({ram_reason(sizes, program, plan)})"
        given = f" or give --{name} if your part has more" if name in CHANGEABLE else ""
        raise UserError(
            f"{program.name} needs {name.told(sizes[name])}, {over:,.0f} more than {target.name}'s "
            f"{target.limits[name]:,.0f}{reason}; take {option}a larger target{given}"
        )


def live_with_integer_inputs(program: Program, plan: Plan) -> int:
    """The most bytes that would be live at a time if inputs that are floats in the arena were int8."""
    floats = {port.buffer for port in program.inputs if port.dtype == "float32"} - program.outside
    if not floats:
        return plan.arena_bytes

    def live(call: int) -> int:
        buffers = (plan.sizes[name] // (4 if name in floats else 1) for name in plan.live_at(call))
        return sum(buffers) + sum(plan.scratch_sizes[call])

    return max(live(call) for call in range(len(program.calls)))


def ram_reason(sizes: Resources, program: Program, plan: Plan) -> str:
    """The parts of RAM, and the largest buffers at the call where most is live."""
    parts = (("arena", Resource.ARENA), ("stack about", Resource.STACK), ("static data", Resource.STATIC))
    known = ", ".join(f"{label} {sizes[name]:,}" for label, name in parts if sizes[name])
    return f"{known}; {most_live(program, plan)}"


def most_live(program: Program, plan: Plan) -> str:
    """The call at which most is live, and what is largest there."""

    def live(call: int) -> list[tuple[int, str]]:
        scratch = [(size, f"scratch of {program.calls[call].node}") for size in plan.scratch_sizes[call]]
        return sorted([*((plan.sizes[name], name) for name in plan.live_at(call)), *scratch], reverse=True)

    peak = max(range(len(program.calls)), key=lambda call: sum(size for size, _ in live(call)))
    largest = ", ".join(f"{name} {size:,}" for size, name in live(peak)[:LARGEST])
    return f"most is live at {program.calls[peak].node}: {largest}"


def overflow(sizes: Resources, target: Target, output: str) -> UserError:
    """For a model that fits alone, but not with the start-up code, the stack and the report around it."""
    regions = sorted(set(re.findall(r"region [`']?(\w+)'? overflowed|in region '(\w+)'", output)))
    names = ", ".join(sorted({first or second for first, second in regions})) or "memory"
    return UserError(
        f"the model takes {told(sizes.only(Resource.FLASH, Resource.RAM))}, which leaves too little of "
        f"{target.name}'s {names} for the program around it; take a larger target or a smaller model"
    )
