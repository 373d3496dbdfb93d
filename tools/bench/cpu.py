"""`bevel bench cpu`: every network on this machine, beside other runtimes, in one process and in random order.

The library's outputs are compared with integer.onnx first. Then all candidates run in rounds, each round in an order of
its own: a few runs that are not timed, as caches hold what ran before, and some that are. The process stays on as many
cores as there are threads, and each candidate begins when no thread of another one runs: onnxruntime's wait busily for
up to 50 ms after a run, on a core that the next one needs. Medians are compared; what a call from Python costs is in
all of them. A library's arena holds other things where its inputs were once they are read: they are written anew before
each of its runs, as an application does, which is not timed.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import onnx
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from bevel.backends import target as targets
from bevel.backends.binary.artifact import Artifact, Slot
from bevel.backends.cpu.levels import at_hand
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.host import processor
from bevel.backends.process.litter import scratch
from bevel.calib.data.dataset import open_dataset
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import model_inputs
from bevel.tools.bench import hidden, peers, tables
from bevel.tools.bench.cells import Refusal, Setup, run_cell
from bevel.tools.bench.peers import LeftOut, Run
from bevel.tools.bench.reference import geometric_mean
from bevel.tools.bench.subjects import Subject, subjects
from bevel.tools.command.quiet import quiet_libraries
from bevel.tools.run import manifest, product, vectors
from bevel.tools.run.bundle import QUANTIZED
from bevel.tools.run.single_file import check_file, write_file
from bevel.tools.run.stages import Stages

TARGET = "host"
OURS = "bevel"
ROUNDS, UNTIMED, TIMED = 40, 2, 5
LEAST_S = 2e-5  # a timed sample: runs of a small network are repeated until they take this long
REST_S, REST_LIMIT_S = 1e-3, 1.0  # between two looks at the threads of a runtime, and until they are left alone
TASKS = Path("/proc/self/task")
WRONG_OUTPUTS = 1
ALIGNMENT = 64


@dataclass(frozen=True)
class CpuRow:
    """Medians in microseconds. ratio_best, ratio_float: ours as a fraction of the fastest peer's and of onnxruntime's
    with the float model, where there are any."""

    model: str
    threads: int
    bevel_us: float
    peers: Mapping[str, float]
    mismatches: int
    best_peer: str | None = field(init=False)
    ratio_best: float | None = field(init=False)
    ratio_float: float | None = field(init=False)

    def __post_init__(self) -> None:
        best = min(self.peers, key=lambda name: self.peers[name], default=None)
        plain = self.peers.get(f"onnxruntime-{peers.FLOAT}")
        object.__setattr__(self, "best_peer", best)
        object.__setattr__(self, "ratio_best", None if best is None else self.bevel_us / self.peers[best])
        object.__setattr__(self, "ratio_float", None if plain is None else self.bevel_us / plain)


class LoadedProduct:
    """The shared library of a product, in this process, with its inputs filled from the first of some vectors."""

    def __init__(self, artifact: Artifact, tests: Vectors, threads: int) -> None:
        assert artifact.library is not None
        self.artifact, self.vectors = artifact, tests
        library = ctypes.CDLL(str(artifact.folder / artifact.library))
        self.entry: Any = library[self.artifact.entry]
        self.entry.argtypes, self.entry.restype = [ctypes.c_void_p], None
        raw = np.zeros(self.artifact.plan.arena_bytes + ALIGNMENT, np.uint8)
        first = -raw.ctypes.data % ALIGNMENT
        self.arena = raw[first : first + self.artifact.plan.arena_bytes]
        self.pool = pool_of(library, self.artifact, threads)
        contents = (np.ascontiguousarray(tests.inputs[slot.port.name][0]) for slot in artifact.inputs)
        self.first = [(self.at(slot).ctypes.data, one) for slot, one in zip(artifact.inputs, contents, strict=True)]
        self.fill(0)

    def fill(self, index: int) -> None:
        for slot in self.artifact.inputs:
            self.at(slot)[...] = self.vectors.inputs[slot.port.name][index]

    def at(self, slot: Slot) -> NDArray[Any]:
        dtype = np.dtype(slot.port.dtype)
        size = int(np.prod(slot.port.shape, dtype=np.int64)) * dtype.itemsize
        return self.arena[slot.offset : slot.offset + size].view(dtype).reshape(slot.port.shape)

    def refill(self) -> None:
        """As `fill` with the first."""
        for place, content in self.first:
            ctypes.memmove(place, content.ctypes.data, content.nbytes)

    def run(self) -> None:
        self.timed()()

    def mismatches(self) -> int:
        """Elements of the outputs that differ from integer.onnx's, bit for bit, over all vectors."""
        wrong = 0
        for index in range(len(self.vectors)):
            self.fill(index)
            self.run()
            for slot in self.artifact.outputs:
                expected = np.ascontiguousarray(self.vectors.expected[slot.port.name][index])
                found = np.ascontiguousarray(self.at(slot))
                size = expected.dtype.itemsize
                differ = found.reshape(-1).view(f"V{size}") != expected.reshape(-1).view(f"V{size}")
                wrong += int(np.count_nonzero(differ))
        self.fill(0)
        return wrong

    def timed(self) -> Run:
        arena = self.arena.ctypes.data
        if self.pool is None:
            return partial(self.entry, arena)
        return partial(self.pool.entry, arena, self.pool.run, self.pool.threads)

    def close(self) -> None:
        """End its threads."""
        if self.pool is not None:
            self.pool.stop(self.pool.threads)


@dataclass(frozen=True)
class Pool:
    """A library's pool: `entry` of a run on it, the address of its parallel for, the pool, and what ends it."""

    entry: Any
    run: int | None
    threads: int
    stop: Any


def pool_of(library: ctypes.CDLL, artifact: Artifact, threads: int) -> Pool | None:
    """None for one thread, and for libraries none of whose calls are worth more."""
    entry = getattr(library, f"{artifact.entry}_on", None)
    if threads == 1 or entry is None:
        return None
    start, run, stop = (library[f"{artifact.model}_threads_{verb}"] for verb in ("start", "run", "stop"))
    entry.argtypes, entry.restype = [ctypes.c_void_p] * 3, None
    start.argtypes, start.restype = [ctypes.c_int], ctypes.c_void_p
    stop.argtypes, stop.restype = [ctypes.c_void_p], None
    return Pool(entry, ctypes.cast(run, ctypes.c_void_p).value, start(threads), stop)


def levels_without(hide: str, isa: str | None) -> str:
    """What `isa` says, or all, less what needs sets that this process does not see from here on."""
    target = targets.load(TARGET).with_levels(isa)
    return ",".join(hidden.left_over(target, hidden.begin_again(hide)))


def show_bench(
    folder: Path | None, only: Sequence[str], threads: Sequence[int], isa: str | None, output: Path | None
) -> None:
    """Run and print. Exits with 1 where the library computed something else than integer.onnx: a bug of ours."""
    quiet_libraries()
    target = targets.load(TARGET).with_levels(isa)
    if output is not None:
        check_file(output)
    console, rows = tables.console(), []
    sets = "".join(f", {level.name}" for level in at_hand(target))
    console.print(f"One process, outputs compared first; {processor()}{sets}; {peers.versions()}", highlight=False)
    with scratch(), TemporaryDirectory(prefix="bevel-bench-") as place:
        for index, subject in enumerate(subjects(folder, only)):
            rows += rows_of(subject, Path(place) / f"{index}", threads, isa, console)
    show(console, rows)
    if output:
        write_file(output, (json.dumps([asdict(one) for one in rows], indent=2, allow_nan=False) + "\n").encode())
    if any(one.mismatches for one in rows):
        raise click.exceptions.Exit(WRONG_OUTPUTS)


def rows_of(subject: Subject, folder: Path, threads: Sequence[int], isa: str | None, console: Console) -> list[CpuRow]:
    """Quantized once; built for each number of threads."""
    setup = Setup(inputs="float", outputs="float", isa=isa, threads=threads[0])
    bundle = folder / "first"
    cell = run_cell(subject, TARGET, bundle, setup, Stages())
    if isinstance(cell, Refusal):
        tables.show_refusals(console, [cell])
        return []
    tests = vectors.load(bundle)
    built = [product.artifact_of(bundle, manifest.read(bundle)), *built_again(bundle, tests, threads[1:])]
    with TemporaryDirectory(prefix="bevel-peers-") as place:
        refused = LeftOut()
        data = open_dataset(subject.calib, model_inputs(onnx.load(bundle / QUANTIZED)))
        files = peers.models(subject, iter(data), Path(place), refused)
        sample = dict(next(iter(data)))
        rows = [
            row(subject, artifact, tests, files, sample, count, refused)
            for artifact, count in zip(built, threads, strict=True)
        ]
    for name, why in refused.reasons.items():
        console.print(escape(f"{subject.name}: {name} is left out: {why}"), highlight=False)
    return rows


def built_again(bundle: Path, tests: Vectors, threads: Sequence[int]) -> Iterator[Artifact]:
    """The model of a bundle, built beside it for other numbers of threads."""
    made = manifest.read(bundle)
    target = product.target_of(made)
    _, program = product.program_of(bundle, made, target)
    for index, count in enumerate(threads):
        place = bundle.with_name(f"again_{index}")
        place.mkdir()
        yield product.build_again(bundle, made, program, target.with_threads(count), place, tests)


def row(
    subject: Subject,
    artifact: Artifact,
    tests: Vectors,
    files: Mapping[str, Path],
    sample: Mapping[str, NDArray[Any]],
    threads: int,
    refused: LeftOut,
) -> CpuRow:
    with pinned(threads):
        library = LoadedProduct(artifact, tests, threads)
        wrong = library.mismatches()
        candidates = {OURS: library.timed(), **peers.runs(subject, files, sample, threads, refused)}
        found = medians(candidates, {OURS: library.refill})
        library.close()
    return CpuRow(subject.name, threads, found.pop(OURS), found, wrong)


def medians(candidates: Mapping[str, Run], before: Mapping[str, Run]) -> dict[str, float]:
    """{candidate: microseconds of one run}, interleaved; before: what some need before each."""
    order, generator = list(candidates), random.Random(0)
    repeats = {name: repeats_of(run) for name, run in candidates.items()}
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        generator.shuffle(order)
        for name in order:
            run, ready, count = candidates[name], before.get(name, nothing), repeats[name]
            rest()
            for _ in range(UNTIMED):
                run()
            for _ in range(TIMED):
                taken[name].append(sum(nanoseconds(run, ready) for _ in range(count)) / (1e3 * count))
    return {name: median(values) for name, values in taken.items()}


def nanoseconds(run: Run, ready: Run) -> int:
    """Of one run, after `ready`."""
    ready()
    start = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - start


def nothing() -> None:
    pass


def rest() -> None:
    """Wait until no other thread of this process runs."""
    end = time.monotonic() + REST_LIMIT_S
    while others_run() and time.monotonic() < end:
        time.sleep(REST_S)


def others_run() -> bool:
    """Whether a thread of this process but the caller's has something to do, as far as Linux tells (proc(5))."""
    states = []
    for task in TASKS.glob("*/stat"):
        if task.parent.name != str(threading.get_native_id()):
            with suppress(OSError):  # it has ended
                states.append(task.read_text().rpartition(")")[2].split()[0])
    return "R" in states


def repeats_of(run: Run) -> int:
    """Of a run within one timed sample."""
    for _ in range(UNTIMED):
        run()
    start = time.perf_counter()
    run()
    return max(1, round(LEAST_S / max(time.perf_counter() - start, 1e-9)))


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """This process on the last `threads` cores that it may use. Raises UserError where there are fewer."""
    cores = os.sched_getaffinity(0)
    if len(cores) < threads:
        raise UserError(f"{threads} threads need as many cores; this process may use {len(cores)}")
    os.sched_setaffinity(0, sorted(cores)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def show(console: Console, rows: Sequence[CpuRow]) -> None:
    table = tables.numbers(
        "network", right=("threads", "bevel", "best peer", "its time", "of it", "of float", "elements that differ")
    )
    for one in rows:
        best = "" if one.best_peer is None else f"{one.peers[one.best_peer]:,.1f}"
        numbers = (f"{one.bevel_us:,.1f}", one.best_peer or "", best, tables.times(one.ratio_best))
        table.add_row(escape(one.model), f"{one.threads}", *numbers, tables.times(one.ratio_float), f"{one.mismatches}")
    table.add_section()
    for threads in dict.fromkeys(one.threads for one in rows):
        some = [one for one in rows if one.threads == threads]
        ratios = (geometric_mean(one.ratio_best for one in some), geometric_mean(one.ratio_float for one in some))
        table.add_row(tables.MEAN, f"{threads}", "", "", "", *map(tables.times, ratios), "")
    tables.show(console, "Microseconds of one inference, medians", table)
