"""`--tune N`: what each kernel of a program is to be replaced by, and a file that spares measuring it twice."""

from __future__ import annotations

from pathlib import Path

from bevel.backends.binary.toolchain import for_target
from bevel.backends.build import arranged
from bevel.backends.devices.base import Device, Vectors
from bevel.backends.gpu import groups
from bevel.backends.gpu.chip import chip_of
from bevel.backends.process.cache import cache_folder
from bevel.backends.program.program import Program
from bevel.backends.search import remembered
from bevel.backends.select import tune, tuned
from bevel.backends.select.objective import OBJECTIVES
from bevel.backends.select.tune import Selections
from bevel.backends.target import Target
from bevel.calib.errors import UserError
from bevel.passes.base import Note
from bevel.tools.run import bundle
from bevel.tools.run.options import Options
from bevel.tools.run.single_file import check_file
from bevel.tools.run.stages import Stages


def choose_kernels(
    options: Options, program: Program, target: Target, device: Device | None, vectors: Vectors, stages: Stages
) -> tuple[Selections, list[Note]]:
    """The selections that apply to `program`: those that ship, or with --tune those measured here, now or before.

    Raises UserError for --tune where no device counts instructions, or where nothing times or ranks a GPU's kernels.
    """
    if not target.compilers:
        if options.tune is not None:
            raise UserError(f"--tune chooses kernels in C, and {target.name} runs no program: leave it out")
        return {}, []
    if target.llvm is not None:
        if options.tune is not None:
            others = "TVM's objects"
            raise UserError(f"--tune chooses C kernels and their flags; {target.name} takes {others}: leave it out")
        return {}, []
    known = {} if target.gpu else dict(tuned.shipped(target.cpu, for_target(target).version))
    by = "measured"
    if options.tune is not None:
        judge = judge_of(target, device)
        by = "measured" if judge else "not measured: estimated as"
        known |= tuned.selections(measured(options.tune, options, program, target, judge, vectors, stages))
    if not known:
        return {}, []
    special = arranged(program, target, OBJECTIVES[options.objective])
    changed = tune.changing(special, known)
    notes = [
        Note("tune", call.node, "chosen", describe(changed[call.kernel], by))
        for call in special.calls
        if call.kernel in changed
    ]
    return {tune.key(kernel): choice.describe() for kernel, choice in changed.items()}, notes


def measured(
    trials: int,
    options: Options,
    program: Program,
    target: Target,
    device: Device | None,
    vectors: Vectors,
    stages: Stages,
) -> tuned.Table:
    """All that the database knows for this core and compiler, after what it lacked was measured."""
    path = options.tune_database or default_database()
    path.parent.mkdir(parents=True, exist_ok=True)
    check_file(path)
    with stages("tune") as advance:
        return remembered(path, program, target, device, vectors, trials, advance, OBJECTIVES[options.objective])


def judge_of(target: Target, device: Device | None) -> Device | None:
    """What tells candidates apart: a simulator that counts instructions; a GPU's own clock, or None, where there is no
    GPU but the target's file says enough of it to estimate."""
    if not target.gpu:
        if device is None or device.kind != "simulator":
            raise UserError("--tune counts instructions: it needs a simulator to measure on")
        return device
    if device is not None and device.kind != "simulator":
        return device
    if not chip_of(target).multiprocessors:
        here = "there is no device" if device is None else f"here is {device.tool()}"
        raise UserError(f"--tune times kernels on a GPU: {here}; and {target.name} names no chip to estimate them for")
    return None


def default_database() -> Path:
    """In the user's cache; a version of Bevel has its own, as what is written of a kernel is its own."""
    return cache_folder() / f"tuned-{bundle.version()}.json"


def describe(choice: tune.Choice, by: str = "measured") -> str:
    """by: how it is known."""
    verb = "launched" if any(one.startswith(groups.FLAG) for one in choice.flags) else "compiled"
    flags = f", {verb} with {' '.join(choice.flags)}" if choice.flags else ""
    return f"{by} fastest: {choice.kernel}{flags}"
