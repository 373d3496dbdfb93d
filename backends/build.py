"""From a program to files: C, objects, libraries, firmware, and what they cost in flash and RAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bevel.backends.binary.artifact import Artifact, BuiltCall, Slot, checksums
from bevel.backends.binary.c.bundle import Bundle, bundle
from bevel.backends.binary.objects import compiled
from bevel.backends.binary.sizes import STACK_FLAGS, check_fits, file_sizes, least_sizes, object_sizes, overflow
from bevel.backends.binary.toolchain import Preference, Toolchain, ToolError, for_target
from bevel.backends.devices.base import Vectors
from bevel.backends.firmware import build_firmware
from bevel.backends.process.progress import Steps, Tell, silent
from bevel.backends.process.room import full_disk_named
from bevel.backends.program import memory
from bevel.backends.program.conversions import split_conversions
from bevel.backends.program.kernel import header_of
from bevel.backends.program.memory import Plan
from bevel.backends.program.op import Op
from bevel.backends.program.program import Port, Program
from bevel.backends.program.resources import Resource, Resources
from bevel.backends.select import tune, tuned
from bevel.backends.select.objective import BALANCED, Objective
from bevel.backends.select.shared_tables import share_tables
from bevel.backends.select.shared_weights import share_weights
from bevel.backends.select.specialize import Specializer, helper_text
from bevel.backends.select.tune import Flags, Selections
from bevel.backends.target import Target
from bevel.backends.tir.compiled import kernels_object, kernels_source

# A model's shared library names the libraries it really needs, asks for no executable stack, and shows its API alone.
EXPORTS = "exports.map"
SHARED_FLAGS = ("-shared", "-Wl,-z,noexecstack", "-Wl,--as-needed", f"-Wl,--version-script={EXPORTS}", "-lm")
KernelFlags = Mapping[Op, Flags]
OVERFLOW = ("overflowed by", "will not fit in region")  # what GNU ld and LLD say of a region that is too small


@dataclass(frozen=True)
class BuildOptions:
    """`compiler`: which kind of C compiler to take, `auto` for the target's order. `in_place`: let outputs overwrite
    inputs that are read for the last time. `selections`: what tuning found for the kernels; None for what ships.
    `objective`: what kernels are chosen for; `preferred`: a rule whose kernels are taken wherever it has one, to be
    measured. `tell`: what is to hear of each step."""

    compiler: Preference = "auto"
    in_place: bool = True
    selections: Selections | None = None
    objective: Objective = BALANCED
    preferred: str = ""
    tell: Tell = silent


def build(
    program: Program, target: Target, folder: Path, vectors: Vectors | None = None, options: BuildOptions | None = None
) -> Artifact:
    """Build `program` for `target` into `folder`, an existing empty folder that the caller moves into place.

    A microcontroller gets C sources, lib<model>.a and, with `vectors`, firmware.elf; a CPU lib<model>.a and
    lib<model>.so. Raises UserError when the model does not fit the target's flash or RAM, when no compiler is found,
    and when the disk is full; ToolError when a compiler rejects generated code, which is our bug.
    """
    chosen = options or BuildOptions()
    toolchain = for_target(target, chosen.compiler)
    kernels = Specializer(target, chosen.objective, chosen.preferred)
    special = share_weights(kernels.program(share_tables(split_conversions(program, target))))
    program, flags = tuned_program(special, target, toolchain, chosen.selections)
    plan = memory.plan(program, chosen.in_place)
    with full_disk_named(folder):
        artifact = build_files(program, target, folder, vectors, toolchain, plan, flags, Steps(chosen.tell))
    toolchain.used()
    return artifact


def tuned_program(
    program: Program, target: Target, toolchain: Toolchain, wanted: Selections | None
) -> tuple[Program, KernelFlags]:
    """The program with its kernels as tuning would have them, and flags for some. TVM's own objects take no flags."""
    if target.llvm is not None:
        return program, {}
    known = tuned.shipped(target.cpu, toolchain.version) if wanted is None else wanted
    return tune.choose(program, tune.resolve(program, known))


def build_files(
    program: Program,
    target: Target,
    folder: Path,
    vectors: Vectors | None,
    toolchain: Toolchain,
    plan: Plan,
    flags: KernelFlags,
    steps: Steps,
) -> Artifact:
    generated = bundle(program, plan)
    check_fits(least_sizes(plan, generated.constants), target, program, plan, generated.constants)
    objects = compile_all(program, target, folder, toolchain, generated, flags, steps)
    sizes = object_sizes(folder, program.name, objects, plan)
    check_fits(sizes, target, program, plan, generated.constants)
    archive = toolchain.archive(objects, f"lib{program.name}.a", folder)
    library, firmware = None, None
    steps.begin("library" if target.kind == "cpu" else "firmware")
    if target.kind == "cpu":
        (folder / EXPORTS).write_text(exports(program), encoding="utf-8")
        library = toolchain.link(objects, f"lib{program.name}.so", folder, SHARED_FLAGS).name
        sizes = file_sizes(folder / library, sizes, plan)
    elif vectors is not None:
        measured = [*objects, compiled(toolchain, f"{program.name}_profile.c", folder)]
        firmware = link_firmware(program, plan, target, toolchain, folder, measured, vectors, sizes)
        sizes = file_sizes(folder / firmware, sizes, plan)
        check_fits(sizes, target, program, plan, generated.constants)
    remove_leftovers(folder)
    return Artifact(
        model=program.name,
        target=target.name,
        folder=folder,
        files=checksums(folder),
        header=f"{program.name}.h",
        library=library,
        archive=archive.name,
        firmware=firmware,
        entry=f"{program.name}_run",
        reset=f"{program.name}_reset" if program.states else None,
        inputs=slots(program, program.inputs, plan),
        outputs=slots(program, program.outputs, plan),
        plan=plan,
        calls=built_calls(program, generated),
        toolchain=toolchain.version,
        takes=sizes | {Resource.WEIGHTS: generated.constants.bytes},
    )


def compile_all(
    program: Program,
    target: Target,
    folder: Path,
    toolchain: Toolchain,
    generated: Bundle,
    flags: KernelFlags,
    steps: Steps,
) -> list[str]:
    """Write and compile the sources; return the objects' names. Kernels become C unless TVM has an LLVM target."""
    name = program.name
    for file, text in generated.texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    stack = STACK_FLAGS[toolchain.kind]
    steps.total = len(generated.kernels) + len({flags.get(kernel, ()) for kernel in generated.kernels.values()}) + 3
    objects = []
    for source in (f"{name}.c", f"{name}_weights.c"):
        steps.begin(source)
        objects.append(compiled(toolchain, source, folder, (stack,)))
    if target.llvm is None:
        for source, own in write_kernels(name, folder, generated, flags, steps).items():
            steps.begin(source)
            objects.append(compiled(toolchain, source, folder, (stack, *own)))
        return objects
    code = kernels_object(generated.kernels, dict(target.llvm), generated.aliasing, steps.begin)
    (folder / f"{name}_kernels.o").write_bytes(code)
    return [*objects, f"{name}_kernels.o"]


def write_kernels(name: str, folder: Path, generated: Bundle, flags: KernelFlags, steps: Steps) -> dict[str, Flags]:
    """Write one C file for all kernels that share their flags, and the helpers they include: {file: flags}."""
    groups: dict[Flags, dict[str, Op]] = {}
    for symbol, kernel in generated.kernels.items():
        groups.setdefault(flags.get(kernel, ()), {})[symbol] = kernel
    written = {}
    for index, (chosen, kernels) in enumerate(sorted(groups.items())):
        headers = {header for kernel in kernels.values() if (header := header_of(kernel)) is not None}
        for header in headers:
            (folder / header).write_text(helper_text(header), encoding="utf-8")
        file = f"{name}_kernels{f'_{index}' if index else ''}.c"
        comment = f"/* Measured best with {' '.join(chosen)} */\n" if chosen else ""
        source = kernels_source(kernels, generated.aliasing, headers, steps.begin)
        (folder / file).write_text(comment + source, encoding="utf-8")
        written[file] = chosen
    return written


def link_firmware(
    program: Program,
    plan: Plan,
    target: Target,
    toolchain: Toolchain,
    folder: Path,
    objects: Sequence[str],
    vectors: Vectors,
    sizes: Resources,
) -> str:
    """firmware.elf. Raises UserError where the model alone fits, but not together with the program around it."""
    try:
        return build_firmware(program, plan, target, toolchain, folder, objects, vectors).elf
    except ToolError as error:
        if any(words in str(error) for words in OVERFLOW):
            raise overflow(sizes, target, str(error)) from error
        raise


def built_calls(program: Program, generated: Bundle) -> tuple[BuiltCall, ...]:
    return tuple(
        BuiltCall(call.node, symbol, type(call.kernel).__name__, call.kernel.macs, call.asked)
        for call, symbol in zip(program.calls, generated.calls, strict=True)
    )


def slots(program: Program, ports: tuple[Port, ...], plan: Plan) -> tuple[Slot, ...]:
    """Where ports lie in the arena; one that is converted, where its first integers do."""
    held = {call.inputs[0]: call.output for call in reversed(program.entries)}
    held |= {call.output: call.inputs[0] for call in reversed(program.exits)}
    return tuple(Slot(port, plan.offsets[held.get(port.buffer, port.buffer)]) for port in ports)


def exports(program: Program) -> str:
    """A linker's version script: what a shared library shows."""
    also = {f"{program.name}_set_bits": program.widths, f"{program.name}_reset": program.states}
    names = (f"{program.name}_run", *(name for name, wanted in also.items() if wanted))
    return f"{{ global: {' '.join(f'{name};' for name in names)} local: *; }};\n"


def remove_leftovers(folder: Path) -> None:
    """Objects, compiler reports and linker scripts are no part of the product."""
    for path in (*folder.glob("*.o"), *folder.glob("*.su"), *folder.glob(EXPORTS)):
        path.unlink()
