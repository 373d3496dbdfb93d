"""What a format of a node costs on the target, from the real kernels: one build with each format at every node.

A node's cost in a format is what the build shows that has this format everywhere: the bytes of its constants, its
kernel's code, its instructions or seconds. Kernels that calls share are in flash once; what a product holds beside all
that (start-up code, helpers) is charged once for the formats that bring more of it than the others.

Files in the user's cache spare building twice: a figure is known by kernel, shapes of constants, target,
the tools, and the sources that code is generated from.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bevel.backends.binary.toolchain import for_target
from bevel.backends.process.cache import cache_folder, sources_digest
from bevel.backends.program.program import Program
from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.calib.data.content import content
from bevel.passes.assign.problem import Costs, SharedPart
from bevel.tools.assign.trial import Formats, Maker, Trial
from bevel.tools.run.budgets import WORK


@dataclass(frozen=True)
class Figures:
    """Of one build. takes: flash and RAM of the product and, if it was measured, what a whole inference spends:
    instructions on a simulator, else seconds; calls: what each call spends; code: bytes of each call's kernel;
    seconds_each: of an instruction, by the simulator's estimate."""

    takes: Resources
    calls: tuple[Resources, ...]
    code: tuple[int, ...]
    seconds_each: float | None = None


@dataclass(frozen=True)
class Uniform:
    """The model with one format at every node that may choose."""

    program: Program
    figures: Figures


def uniform(maker: Maker, formats: Formats, measure: bool) -> Uniform:
    """The build of `formats`, or what the cache knows of an equal one."""
    program = maker.as_built(maker.program(formats))
    path = cache_folder() / "costs" / f"{digest(program, maker, measure)}.json"
    known = read(path)
    if known is not None:
        return Uniform(program, known)
    trial = maker.built(formats, measure)
    figures = figures_of(trial)
    if maker.options.max_ram is None:  # bands of rows make more calls than the program has
        write(path, figures)
        return Uniform(program, figures)
    return Uniform(trial.program, figures)


def digest(program: Program, maker: Maker, measure: bool) -> str:
    device = maker.device.tool() if maker.device is not None and measure else ""
    calls = [(repr(call.kernel), [(one.shape, str(one.dtype)) for one in call.constants]) for call in program.calls]
    tools = (for_target(maker.target).version, device)
    limits = (maker.options.ram, maker.options.flash, maker.options.max_ram, maker.objective)
    return hashlib.sha256(repr((sources_digest(), maker.target.name, tools, limits, calls)).encode()).hexdigest()


def figures_of(trial: Trial) -> Figures:
    artifact, measured = trial.artifact, trial.measurement
    code = tuple(trial.code.get(symbol, 0) for symbol in artifact.call_symbols)
    takes = artifact.takes.only(Resource.FLASH, Resource.RAM)
    if measured is None:
        return Figures(takes, (NOTHING,) * len(artifact.calls), code)
    each = None
    if measured.estimate is not None and measured.spent.get(Resource.INSTRUCTIONS):
        each = measured.estimate.latency_s / measured.spent[Resource.INSTRUCTIONS]
    spent = {cost.call: cost.spent for cost in measured.per_call}
    calls = tuple(spent.get(call, NOTHING) for call in range(len(artifact.calls)))
    return Figures(takes | measured.spent, calls, code, each)


def read(path: Path) -> Figures | None:
    """The figures in a file of the cache; None where there is none, or another version's."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        calls = tuple(map(Resources, data["calls"]))
        return Figures(Resources(data["takes"]), calls, tuple(data["code"]), data["seconds_each"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write(path: Path, figures: Figures) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as stream:
        calls = [dict(one) for one in figures.calls]
        json.dump(vars(figures) | {"takes": dict(figures.takes), "calls": calls}, stream)
    os.replace(stream.name, path)


def costs(sites: Sequence[str], uniforms: Sequence[Uniform]) -> Costs:
    """The costs of each site in each format, `uniforms` being the builds of the formats in order."""
    index = {site: place for place, site in enumerate(sites)}
    spent = [name for name in WORK if all(name in one.figures.takes for one in uniforms)]
    each = {name: np.zeros((len(sites), len(uniforms))) for name in (Resource.FLASH, *spent)}
    users: dict[str, set[tuple[int, int]]] = {}
    sizes: dict[str, int] = {}
    beside = []
    for format, one in enumerate(uniforms):
        seen: set[bytes] = set()
        for call, code, taken in zip(one.program.calls, one.figures.code, one.figures.calls, strict=True):
            site = index.get(call.node)
            if site is None:
                continue
            for array in call.constants:
                key = content(array.reshape(-1))
                each[Resource.FLASH][site, format] += 0 if key in seen else array.nbytes
                seen.add(key)
            for name in spent:
                each[name][site, format] += taken.get(name, 0)
            users.setdefault(repr(call.kernel), set()).add((site, format))
            sizes[repr(call.kernel)] = code
        kernels = sum(size for name, size in sizes.items() if any(user[1] == format for user in users[name]))
        known = Resources({name: float(table[:, format].sum()) for name, table in each.items()})
        beside.append(one.figures.takes - (known + Resources({Resource.FLASH: kernels})))
    parts = [
        SharedPart(Resources({Resource.FLASH: sizes[name]}), frozenset(users[name])) for name in users if sizes[name]
    ]
    flash = [one[Resource.FLASH] for one in beside]
    idle = Resources({name: float(np.mean([one[name] for one in beside])) for name in spent})
    return Costs(each, (*parts, *extras(len(sites), flash)), idle | {Resource.FLASH: min(flash)})


def extras(sites: int, beside: Sequence[float]) -> list[SharedPart]:
    """What some formats bring into flash beyond constants and kernels, charged once."""
    least = min(beside)
    return [
        SharedPart(
            Resources({Resource.FLASH: round(bytes - least)}), frozenset((site, format) for site in range(sites))
        )
        for format, bytes in enumerate(beside)
        if bytes > least
    ]
