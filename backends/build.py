"""From a program to files: C, objects, libraries, firmware, and what they cost in flash and RAM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bevel.backends.backend import Designer, Designing, Kernels, LogicMode, Product, backend_of
from bevel.backends.binary.artifact import Artifact, BuiltCall, checksums, slots
from bevel.backends.binary.c.bundle import Bundle
from bevel.backends.binary.objects import compiled
from bevel.backends.binary.sizes import STACK_FLAGS, check_fits, least_sizes, object_sizes
from bevel.backends.binary.toolchain import Preference, Toolchain, for_target
from bevel.backends.devices.base import Vectors
from bevel.backends.process.progress import Steps, Tell, silent
from bevel.backends.process.room import full_disk_named
from bevel.backends.program.conversions import split_conversions
from bevel.backends.program.memory import Plan
from bevel.backends.program.op import Op
from bevel.backends.program.program import Program
from bevel.backends.program.resources import Resource, Resources
from bevel.backends.program.teams import in_teams
from bevel.backends.select import tune, tuned
from bevel.backends.select.objective import BALANCED, Objective
from bevel.backends.select.shared_tables import share_tables
from bevel.backends.select.specialize import Specializer
from bevel.backends.select.tune import Flags, Selections
from bevel.backends.target import Target

KernelFlags = Mapping[Op, Flags]


@dataclass(frozen=True)
class BuildOptions:
    """`compiler`: which kind of C compiler to take, `auto` for the target's order. `in_place`: let outputs overwrite
    inputs that are read for the last time. `selections`: what tuning found for the kernels; None for what ships.
    `objective`: what kernels are chosen for; `preferred`: a rule whose kernels are taken wherever it has one, to be
    measured. `tell`: what is to hear of each step. `folding`: of programmable logic, a file that says what stands side
    by side in each node; `synthesize`: whether its resources are counted by synthesis, too; `mode`: of its design."""

    compiler: Preference = "auto"
    in_place: bool = True
    selections: Selections | None = None
    objective: Objective = BALANCED
    preferred: str = ""
    tell: Tell = silent
    folding: Path | None = None
    synthesize: bool = False
    mode: LogicMode = "auto"


def build(
    program: Program, target: Target, folder: Path, vectors: Vectors | None = None, options: BuildOptions | None = None
) -> Artifact:
    """Build `program` for `target` into `folder`, an existing empty folder that the caller moves into place.

    Every target gets lib<model>.a, and what its backend links: a microcontroller firmware.elf, with `vectors`, a CPU
    lib<model>.so; programmable logic gets Verilog in their place.

    Raises UserError when the model does not fit the target's flash or RAM, when no compiler is found,
    and when the disk is full; ToolError when a compiler rejects generated code, which is our bug.
    """
    chosen = options or BuildOptions()
    backend = backend_of(target)
    if isinstance(backend, Designer):
        with full_disk_named(folder):
            wanted = Designing(chosen.tell, chosen.folding, chosen.synthesize, chosen.mode)
            return backend.design(split_conversions(program, target), target, folder, vectors, wanted)
    toolchain = for_target(target, chosen.compiler)
    special = arranged(program, target, chosen.objective, chosen.preferred)
    program, flags = tuned_program(special, target, toolchain, chosen.selections)
    plan = backend_of(target).plan(program, chosen.in_place)
    with full_disk_named(folder):
        artifact = build_files(program, target, folder, vectors, toolchain, plan, flags, Steps(chosen.tell))
    toolchain.used()
    return artifact


def arranged(program: Program, target: Target, objective: Objective = BALANCED, preferred: str = "") -> Program:
    """The program as it is built, but for what tuning changes: conversions outside, a kernel for each call, and what
    calls share stored once."""
    kernels, backend = Specializer(target, objective, preferred), backend_of(target)
    whole = share_tables(split_conversions(program, target))
    chosen = kernels.program(whole)
    if target.threads > 1:
        spent = [backend.estimate(call.kernel, target).get(Resource.LATENCY, 0.0) for call in chosen.calls]
        chosen = kernels.program(in_teams(whole, target.threads, spent))
    return backend.arranged(chosen)


def tuned_program(
    program: Program, target: Target, toolchain: Toolchain, wanted: Selections | None
) -> tuple[Program, KernelFlags]:
    """The program with its kernels as tuning would have them, and flags for some."""
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
    generated = backend_of(target).bundle(program, plan, target, flags)
    check_fits(least_sizes(plan, generated.constants), target, program, plan, generated.constants)
    objects = compile_all(program, target, folder, toolchain, generated, flags, steps)
    sizes = object_sizes(folder, program.name, objects, plan)
    check_fits(sizes, target, program, plan, generated.constants)
    archive = toolchain.archive(objects, f"lib{program.name}.a", folder)
    product = Product(program, plan, target, toolchain, folder, objects, vectors, sizes)
    linked = backend_of(target).link(product, steps.begin)
    sizes = linked.sizes
    check_fits(sizes, target, program, plan, generated.constants)
    remove_leftovers(folder)
    return Artifact(
        model=program.name,
        target=target.name,
        folder=folder,
        files=checksums(folder),
        header=f"{program.name}.h",
        library=linked.library,
        archive=archive.name,
        firmware=linked.firmware,
        entry=program.entry,
        reset=f"{program.name}_reset" if program.states else None,
        inputs=slots(program, program.inputs, plan),
        outputs=slots(program, program.outputs, plan),
        plan=plan,
        calls=built_calls(program, generated),
        toolchain=toolchain.version,
        takes=sizes | {Resource.WEIGHTS: generated.constants.bytes} | state_of(program),
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
    """Write and compile the sources; return the objects' names."""
    name = program.name
    for file, text in generated.texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    stack = STACK_FLAGS[toolchain.kind]
    steps.total = len(generated.kernels) + len({flags.get(kernel, ()) for kernel in generated.kernels.values()}) + 3
    objects = []
    for source in (one for one in generated.texts if one.endswith(".c") and one != f"{name}_profile.c"):
        steps.begin(source)
        objects.append(compiled(toolchain, source, folder, (stack,)))
    code = Kernels(name, generated.kernels, generated.aliasing, flags)
    emitted = backend_of(target).emit(code, target, steps.begin)
    for one in emitted:
        data = one.content if isinstance(one.content, bytes) else one.content.encode()
        (folder / one.file).write_bytes(data)
    for one in emitted:
        if one.file.endswith(".c"):
            steps.begin(one.file)
            objects.append(compiled(toolchain, one.file, folder, (stack, *one.flags)))
        elif isinstance(one.content, bytes):
            objects.append(one.file)
    return objects


def state_of(program: Program) -> Resources:
    return Resources({Resource.STATE: program.state_bytes} if program.states else {})


def built_calls(program: Program, generated: Bundle) -> tuple[BuiltCall, ...]:
    told = {symbol: (one,) for symbol, one in generated.told.items()}
    return tuple(
        BuiltCall(call.node, symbol, type(call.kernel).__name__, call.kernel.macs, (*call.asked, *told.get(symbol, ())))
        for call, symbol in zip(program.calls, generated.calls, strict=True)
    )


def remove_leftovers(folder: Path) -> None:
    """Objects and compiler reports are no part of the product."""
    for path in (*folder.glob("*.o"), *folder.glob("*.su")):
        path.unlink()
