"""What formats cost on the target, from the real kernels: one build with each pair of formats of weights and results.

What a product by weights costs is what the build shows that has its pair of formats everywhere: the bytes of its
constants, its kernel's code, its instructions or seconds. Kernels that calls share are in flash once; what a product
holds beside all that (start-up code, helpers) is charged once for the formats that bring more of it than the others.

Files in the user's cache spare building twice: a figure is known by kernel, shapes of constants, target,
the tools, and the sources that code is generated from.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bevel.backends.binary.toolchain import for_target
from bevel.backends.process.cache import cache_folder, sources_digest
from bevel.backends.program.op import Role
from bevel.backends.program.placement import aligned
from bevel.backends.program.program import Call, Program
from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.calib.data.content import content
from bevel.passes.assign.problem import Costs, Couple, SharedPart
from bevel.tools.assign.trial import Formats, Maker, Trial
from bevel.tools.run.budgets import WORK


@dataclass(frozen=True)
class Figures:
    """Of one build. takes: flash, RAM and arena of the product and, if it was measured, what a whole inference spends:
    instructions on a simulator, else seconds; calls: what each call spends; code: bytes of each call's kernel;
    seconds_each: of an instruction, by the simulator's estimate."""

    takes: Resources
    calls: tuple[Resources, ...]
    code: tuple[int, ...]
    seconds_each: float | None = None


@dataclass(frozen=True)
class Uniform:
    """The model with one format for all weights that may choose, and one for all results."""

    program: Program
    figures: Figures


def uniform(maker: Maker, formats: Formats, measure: bool) -> Uniform:
    """The build of `formats`, or what the cache knows of an equal one."""
    rough = maker.rough
    program = rough.as_built(rough.program(formats))
    path = cache_folder() / "costs" / f"{digest(program, maker, measure)}.json"
    known = read(path)
    if known is None:
        known = figures_of(rough.built(formats, measure))
        write(path, known)
    return Uniform(program, known)


def digest(program: Program, maker: Maker, measure: bool) -> str:
    device = maker.device.tool() if maker.device is not None and measure else ""
    calls = [(repr(call.kernel), [(one.shape, str(one.dtype)) for one in call.constants]) for call in program.calls]
    tools = (for_target(maker.target).version, device)
    given = (sources_digest(), maker.target.name, tools, maker.options.flash, maker.options.ram, maker.objective, calls)
    return hashlib.sha256(repr(given).encode()).hexdigest()


def figures_of(trial: Trial) -> Figures:
    artifact, measured = trial.artifact, trial.measurement
    code = tuple(trial.code.get(symbol, 0) for symbol in artifact.call_symbols)
    takes = artifact.takes.only(Resource.FLASH, Resource.RAM, Resource.ARENA)
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


@dataclass(frozen=True)
class Places:
    """Which sites a call is about, by its node of the canonical graph, whose name it has: those of its weights, of what
    it reads first, and of its result; where these are sites."""

    weights: Mapping[str, int]
    reads: Mapping[str, int]
    makes: Mapping[str, int]


Builds = Mapping[tuple[int, int], Uniform]  # (a format of all weights, one of all results): the build


def costs(sites: int, formats: int, places: Places, builds: Builds) -> Costs:
    """What each site takes in each format, from `builds`; the others are compared with the first.

    Products whose factors both have sites are couples. What another node takes depends on the format that it reads.
    """
    spent = [name for name in WORK if all(name in one.figures.takes for one in builds.values())]
    base = next(iter(builds))
    tally = Tally(sites, formats, (Resource.FLASH, *spent), places)
    known = {pair: tally.add(pair, one, base) for pair, one in builds.items()}
    beside = {pair: builds[pair].figures.takes - known[pair] for pair in builds}
    idle = Resources({name: float(np.mean([one[name] for one in beside.values()])) for name in spent})
    flash = {pair: one[Resource.FLASH] for pair, one in beside.items()}
    parts = (*tally.parts(), *extras(sites, places, flash, base))
    return Costs(tally.each, parts, idle | {Resource.FLASH: min(flash.values())}, tally.couples(builds))


class Tally:
    """Sums over the calls of builds."""

    def __init__(self, sites: int, formats: int, names: Sequence[Resource], places: Places) -> None:
        self.places, self.names, self.square = places, names, (formats, formats)
        self.each = {name: np.zeros((sites, formats)) for name in names}
        both = sorted((site, places.reads[node]) for node, site in places.weights.items() if node in places.reads)
        self.pairs = list(dict.fromkeys(both))
        self.coupled = [{name: np.zeros(self.square) for name in (*names, Resource.ARENA)} for _ in self.pairs]
        self.users: dict[str, tuple[set[tuple[int, int]], set[tuple[int, int, int]]]] = {}
        self.sizes: dict[str, int] = {}

    def add(self, pair: tuple[int, int], build: Uniform, base: tuple[int, int]) -> Resources:
        """Take the calls of a build in; what is known of it thereby."""
        weights, reads = pair
        seen: set[bytes] = set()
        kernels: dict[str, int] = {}
        known = Resources(dict.fromkeys(self.names, 0.0))
        for call, code, taken in zip(build.program.calls, build.figures.code, build.figures.calls, strict=True):
            site, read = self.places.weights.get(call.node), self.places.reads.get(call.node)
            if site is None and read is None:
                continue
            takes = Resources({Resource.FLASH: new_bytes(call, seen)}) | taken.only(*self.names)
            known += takes
            kernel = repr(call.kernel)
            kernels[kernel] = self.sizes[kernel] = code
            _, couples = self.users.setdefault(kernel, (set(), set()))
            if site is not None and read is not None:
                place = self.pairs.index((site, read))
                couples.add((place, *pair))
                for name, amount in (takes | {Resource.ARENA: scratch_bytes(call)}).items():
                    self.coupled[place][name][pair] += amount
                continue
            if site is not None:
                self.charge(site, weights, kernel, takes if reads == base[1] else NOTHING)
            elif read is not None:
                self.charge(read, reads, kernel, takes if weights == base[0] else NOTHING)
        return known + Resources({Resource.FLASH: sum(kernels.values())})

    def charge(self, site: int, format: int, kernel: str, takes: Resources) -> None:
        self.users[kernel][0].add((site, format))
        for name, amount in takes.items():
            self.each[name][site, format] += amount

    def couples(self, built: Iterable[tuple[int, int]]) -> tuple[Couple, ...]:
        """What was not built is refused, of the formats that were."""
        known = set(built)
        missing = frozenset({(one, other) for one, _ in known for _, other in known} - known)
        return tuple(Couple(*pair, takes, missing) for pair, takes in zip(self.pairs, self.coupled, strict=True))

    def parts(self) -> Iterator[SharedPart]:
        for kernel, (users, couples) in self.users.items():
            if size := self.sizes[kernel]:
                yield SharedPart(Resources({Resource.FLASH: size}), frozenset(users), frozenset(couples))


def scratch_bytes(call: Call) -> int:
    return sum(aligned(operand.bytes) for operand in call.kernel.roles(Role.SCRATCH))


def new_bytes(call: Call, seen: set[bytes]) -> int:
    """Of constants that no call before it has."""
    total = 0
    for array in call.constants:
        key = content(array.reshape(-1))
        total += 0 if key in seen else array.nbytes
        seen.add(key)
    return total


def extras(
    sites: int, places: Places, beside: Mapping[tuple[int, int], float], base: tuple[int, int]
) -> Iterator[SharedPart]:
    """What some formats bring into flash beyond constants and kernels, charged once."""
    least, of_weights = min(beside.values()), frozenset(places.weights.values())
    for (weights, reads), bytes in beside.items():
        if reads == base[1]:
            more, owners, format = bytes - least, of_weights, weights
        elif weights == base[0]:
            more, owners, format = bytes - beside[base], frozenset(range(sites)) - of_weights, reads
        else:
            continue
        if more > 0:
            users = frozenset((site, format) for site in owners)
            yield SharedPart(Resources({Resource.FLASH: round(more)}), users)
