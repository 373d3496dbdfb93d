"""`--tune`: measure candidates for every kernel of a program, all kernels at once, and keep the best of each.

Trial i builds the whole firmware with candidate i of each kernel, runs it on the device with real inputs, compares
every output with integer.onnx, and reads how many instructions each call took. A count does not depend on what other
kernels do, so a network of any size takes as many trials as its kernels have candidates, at most N.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from bevel.backends.binary.toolchain import Preference, for_target
from bevel.backends.build import BuildOptions, arranged, build
from bevel.backends.devices.base import Device, Measurement, Vectors
from bevel.backends.process.cache import sources_digest
from bevel.backends.program.op import Array, Op
from bevel.backends.program.program import Program
from bevel.backends.program.resources import Resource
from bevel.backends.select import tuned
from bevel.backends.select.objective import BALANCED, Objective
from bevel.backends.select.tune import Selection, candidates, key
from bevel.backends.select.tuned import Found, Table
from bevel.backends.target import Target

Advance = Callable[[int, int], None]  # (done, total)
WORTH = 0.01  # what a change must save: kernels with flags of their own cost flash, as nothing is shared with others
VECTORS = 2  # an instruction count hardly depends on the input; wrong results show soon


def search(
    program: Program,
    target: Target,
    device: Device,
    vectors: Vectors,
    trials: int,
    known: Table,
    advance: Advance,
    compiler: Preference = "auto",
    objective: Objective = BALANCED,
) -> dict[str, Found]:
    """The best of up to `trials` candidates for each kernel that `known` has not seen so many for.

    Raises RuntimeError where a candidate computes something else: our bug. UserError where one does not fit the target.
    """
    kernels = [call.kernel for call in arranged(program, target, objective).calls]
    kind = for_target(target, compiler).kind
    pending = wanting(kernels, kind, trials, known)
    total = max(map(len, pending.values()), default=0)
    few = first(vectors, VECTORS)
    costs: dict[str, list[int]] = {name: [] for name in pending}
    for index in range(total):
        advance(index, total)
        trial = {name: some[index] for name, some in pending.items() if index < len(some)}
        measured = measure(program, target, device, few, BuildOptions(compiler, selections=trial, objective=objective))
        spent = by_key(measured, kernels)
        for name in trial:
            costs[name].append(spent[name])
    return {name: best(pending[name], costs[name]) for name in pending}


def remembered(
    database: Path,
    program: Program,
    target: Target,
    device: Device,
    vectors: Vectors,
    trials: int,
    advance: Advance,
    objective: Objective = BALANCED,
) -> Table:
    """All that ships and that a file knows for this core and compiler, after `search` for what they lack, which is
    written there."""
    core, compiler = target.cpu, for_target(target).version
    ships = tuned.lookup(tuned.shipped_database(), core, compiler)
    known = {**ships, **tuned.lookup(tuned.read(database), core, compiler)}
    found = search(program, target, device, vectors, trials, known, advance, objective=objective)
    if found:
        tuned.write(database, tuned.merged(tuned.read(database), core, compiler, found))
    return {**known, **found}


def wanting(
    kernels: Iterable[Op], kind: Literal["gcc", "zig"], trials: int, known: Table
) -> dict[str, list[Selection]]:
    """What to measure for each kernel, by its key. Kernels of equal key are tuned together."""
    found: dict[str, list[Selection]] = {}
    for kernel in kernels:
        name = key(kernel)
        some = [choice.describe() for choice in candidates(kernel, kind)[:trials]]
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
    program: Program,
    target: Target,
    device: Device,
    vectors: Vectors,
    options: BuildOptions,
) -> Measurement:
    with TemporaryDirectory(prefix="bevel-tune-") as folder:
        artifact = build(program, target, Path(folder), vectors, options)
        measured = device.measure(artifact, vectors)
    if measured.mismatches:
        raise RuntimeError(
            f"a candidate changed the result ({measured.first_mismatch}): {list((options.selections or {}).values())}"
        )
    return measured


def by_key(measured: Measurement, kernels: Sequence[Op]) -> dict[str, int]:
    """Instructions of all calls of the kernels of each key."""
    spent: dict[str, int] = {}
    for cost, kernel in zip(measured.per_call, kernels, strict=True):
        spent[key(kernel)] = spent.get(key(kernel), 0) + cost.spent.whole(Resource.INSTRUCTIONS)
    return spent


def best(some: Sequence[Selection], costs: Sequence[int]) -> Found:
    """The cheapest, and of equally cheap ones the first; the kernel as it stands where nothing is much cheaper."""
    index = min(range(len(costs)), key=lambda place: (costs[place], place))
    if costs[index] > costs[0] * (1 - WORTH):
        index = 0
    return Found(some[index], costs[index], costs[0], len(costs), sources_digest())
