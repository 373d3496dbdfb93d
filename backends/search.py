"""`--tune`: measure candidates for every kernel of a program, all kernels at once, and keep the best of each.

Trial i builds the whole firmware with candidate i of each kernel, runs it on the device with real inputs, compares
every output with integer.onnx, and reads how many instructions each call took. A count does not depend on what other
kernels do, so a network of any size takes as many trials as its kernels have candidates, at most N.

On a GPU it is the product, every call of which is compared, and the device's own clock that times each launch. Where
there is none, what is built is ranked by an estimate (`backends/gpu/ranking.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.toolchain import Preference, for_target
from bevel.backends.build import BuildOptions, arranged, build
from bevel.backends.devices.base import Device, Measurement, Vectors
from bevel.backends.devices.native import HarnessError
from bevel.backends.gpu import groups, nvcc, statics
from bevel.backends.gpu.chip import chip_of
from bevel.backends.gpu.transfers import on_device
from bevel.backends.process.cache import sources_digest
from bevel.backends.program.op import Array, Op
from bevel.backends.program.program import Program
from bevel.backends.program.resources import Resource
from bevel.backends.select import tuned
from bevel.backends.select.objective import BALANCED, Objective
from bevel.backends.select.tune import FLAGS, Flags, Selection, candidates, key
from bevel.backends.select.tuned import Found, Table
from bevel.backends.target import Target
from bevel.calib.errors import UserError

Advance = Callable[[int, int], None]  # (done, total)
WORTH = 0.01  # what a change must save: kernels with flags of their own cost flash, as nothing is shared with others
WAVERING = 0.05  # the same of times, medians of which differ from one measurement to the next
VECTORS = 2  # an instruction count hardly depends on the input; wrong results show soon


def search(
    program: Program,
    target: Target,
    device: Device | None,
    vectors: Vectors,
    trials: int,
    known: Table,
    advance: Advance,
    compiler: Preference = "auto",
    objective: Objective = BALANCED,
) -> dict[str, Found]:
    """The best of up to `trials` candidates for each kernel that `known` has not seen so many for; by an estimate where
    there is no device.

    Raises RuntimeError where a candidate computes something else: our bug. UserError where one does not fit the target,
    and for a device without times.
    """
    calls = arranged(program, target, objective).calls
    kernels = [call.kernel for call in calls]
    tuned_ones = [call.kernel for call in calls if not target.gpu or on_device(call)]
    pending = wanting(tuned_ones, flags_of(target, compiler), trials, known)
    total = max(map(len, pending.values()), default=0)
    few = first(vectors, VECTORS)
    costs: dict[str, list[float]] = {name: [] for name in pending}
    for index in range(total):
        advance(index, total)
        trial = {name: some[index] for name, some in pending.items() if index < len(some)}
        options = BuildOptions(compiler, selections=trial, objective=objective)
        try:
            spent = by_key(measure(program, target, device, few, options), kernels)
        except HarnessError:
            if not target.gpu or index == 0:
                raise
            spent = dict.fromkeys(trial, inf)  # not every device has room for such work-groups
        for name in trial:
            costs[name].append(spent[name])
    worth = WAVERING if target.gpu and device is not None else WORTH
    return {name: best(pending[name], costs[name], worth) for name in pending}


def flags_of(target: Target, compiler: Preference) -> Sequence[Flags]:
    """What is tried beside each variant."""
    return groups.choices(chip_of(target)) if target.gpu else FLAGS[for_target(target, compiler).kind]


def remembered(
    database: Path,
    program: Program,
    target: Target,
    device: Device | None,
    vectors: Vectors,
    trials: int,
    advance: Advance,
    objective: Objective = BALANCED,
) -> Table:
    """All that ships and that a file knows for this core and compiler, after `search` for what they lack, which is
    written there."""
    core, compiler = place_of(target, device)
    ships = tuned.lookup(tuned.shipped_database(), core, compiler)
    known = {**ships, **tuned.lookup(tuned.read(database), core, compiler)}
    found = search(program, target, device, vectors, trials, known, advance, objective=objective)
    if found:
        tuned.write(database, tuned.merged(tuned.read(database), core, compiler, found))
    return {**known, **found}


def place_of(target: Target, device: Device | None) -> tuple[str, str]:
    """Where a database keeps what was found: the core and the compiler, or a GPU and what tells of it."""
    if not target.gpu:
        return target.cpu, for_target(target).version
    return target.name, f"estimate, nvcc {nvcc.version()}" if device is None else device.tool()


def wanting(kernels: Iterable[Op], flags: Sequence[Flags], trials: int, known: Table) -> dict[str, list[Selection]]:
    """What to measure for each kernel, by its key. Kernels of equal key are tuned together."""
    found: dict[str, list[Selection]] = {}
    for kernel in kernels:
        name = key(kernel)
        some = [choice.describe() for choice in candidates(kernel, flags)[:trials]]
        if name not in found and not settled(known.get(name), len(some)):
            found[name] = some
    return found


def settled(found: Found | None, wanted: int) -> bool:
    """What other sources spent says nothing of these."""
    return found is not None and found.tried >= wanted and found.sources == sources_digest()


def first(vectors: Vectors, count: int) -> Vectors:
    def some(arrays: dict[str, Array]) -> dict[str, Array]:
        return {name: array[:count] for name, array in arrays.items()}

    return replace(vectors, inputs=some(vectors.inputs), expected=some(vectors.expected))


def measure(
    program: Program, target: Target, device: Device | None, vectors: Vectors, options: BuildOptions
) -> dict[int, float]:
    """What each call spends, by its number: as the device counts or times it, or else estimated."""
    with TemporaryDirectory(prefix="bevel-tune-") as folder:
        artifact = build(program, target, Path(folder), vectors, options)
        if device is None:
            return estimated(artifact)
        measured = device.measure(artifact, vectors)
    if measured.mismatches:
        raise RuntimeError(
            f"a candidate changed the result ({measured.first_mismatch}): {list((options.selections or {}).values())}"
        )
    return costs_of(measured, Resource.LATENCY if target.gpu else Resource.INSTRUCTIONS)


def costs_of(measured: Measurement, counted: Resource) -> dict[int, float]:
    """Of each call. Raises UserError for a device that told none: what turned out to be no GPU."""
    if not measured.per_call:
        raise UserError(f"--tune compares what calls spend, and {measured.tool} tells no {counted.label}")
    return {one.call: one.spent[counted] for one in measured.per_call}


def estimated(artifact: Artifact) -> dict[int, float]:
    """Of each call on a GPU whose chip is known."""
    calls = statics.load(artifact.folder, artifact.model)
    return {index: call.estimated_s for index, call in enumerate(calls) if call.estimated_s is not None}


def by_key(costs: Mapping[int, float], kernels: Sequence[Op]) -> dict[str, float]:
    """What all calls of the kernels of each key spend."""
    spent: dict[str, float] = {}
    for index, cost in costs.items():
        name = key(kernels[index])
        spent[name] = spent.get(name, 0) + cost
    return spent


def best(some: Sequence[Selection], costs: Sequence[float], worth: float = WORTH) -> Found:
    """The cheapest, and of equally cheap ones the first; the kernel as it stands where nothing is much cheaper."""
    index = min(range(len(costs)), key=lambda place: (costs[place], place))
    if costs[index] > costs[0] * (1 - worth):
        index = 0
    return Found(some[index], costs[index], costs[0], len(costs), sources_digest())
