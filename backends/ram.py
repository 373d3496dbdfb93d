"""Keep a model within the RAM there is: what the user allows, or what the target has.

The arena is known before anything is compiled, the stack and static data after. So a program is first fitted by its
arena, with a guess for the rest; where the built product turns out larger than the limit, it is fitted and built again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from bevel.backends.backend import backend_of
from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.sizes import most_live
from bevel.backends.program.fit import Fit, fit
from bevel.backends.program.memory import Plan
from bevel.backends.program.program import Program
from bevel.backends.program.resources import Resource
from bevel.backends.select.objective import Objective
from bevel.backends.select.specialize import Specializer
from bevel.backends.target import Target
from bevel.calib.errors import UserError

STACK_GUESS = 1024  # of a model alone
FIRMWARE_GUESS = 24 * 1024  # the stack that firmware reserves, and its own data
ATTEMPTS = 4  # products differ in their stack by a few bytes


def fit_ram(program: Program, target: Target, max_ram: int | None, objective: Objective) -> Fit:
    """`program`, or where its arena is too large the same in bands of rows.

    Nothing is refused yet: a program that cannot be made to fit is the smallest that was found.
    """
    limits = [max_ram - STACK_GUESS] if max_ram is not None else []
    limits += [target.limits.whole(Resource.RAM) - FIRMWARE_GUESS] if Resource.RAM in target.limits else []
    plans = planner(target, objective)
    if not limits:
        return Fit(program, plans(program), (), True)
    return fit(program, min(limits), plans)


def planner(target: Target, objective: Objective) -> Callable[[Program], Plan]:
    """Plans programs as they will be built for `target`, with the scratch that specialised kernels need."""
    special, backend = Specializer(target, objective), backend_of(target)
    return lambda program: backend.plan(special.program(program), quick=True)


def build_within(
    program: Program,
    found: Fit,
    target: Target,
    max_ram: int | None,
    folder: Path,
    objective: Objective,
    build: Callable[[Program], Artifact],
) -> tuple[Fit, Artifact]:
    """`build` of `found`, which is `program` as `fit_ram` left it; while the product takes more RAM than `max_ram`,
    `program` is fitted more tightly and built again. `folder` is where `build` writes.

    Raises UserError where the limit cannot be kept, with the least that can be reached.
    """
    for _ in range(ATTEMPTS):
        before = set(folder.iterdir())
        artifact = build(found.program)
        if max_ram is None or (taken := artifact.takes.whole(Resource.RAM)) <= max_ram:
            return found, artifact
        beside = taken - artifact.takes.whole(Resource.ARENA)
        if found.fits or beside < STACK_GUESS:
            found = fit(program, max_ram - beside, planner(target, objective))
        discard(path for path in folder.iterdir() if path not in before)
        if not found.fits:
            break
    raise UserError(
        f"{program.name} needs at least {found.plan.arena_bytes + beside:,} bytes of RAM, run in bands of rows where "
        f"that helps, and --max-ram leaves {max_ram:,}: arena {found.plan.arena_bytes:,}, stack and static data "
        f"{beside:,}; {most_live(found.program, found.plan)}"
    )


def discard(paths: Iterable[Path]) -> None:
    for path in list(paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
