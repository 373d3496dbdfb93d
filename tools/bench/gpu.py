"""`bevel bench gpu`: every network on GPUs: what every call computes, memory of the device, and what kernels take.

Where a device is here, the outputs of every call are held to its reference first, with kernels built from source and
then with the driver's kept binary, and only then is anything timed; PoCL is a CPU, and is not timed. What machine code
takes, and the bytes that calls move, are known without a device. Beside stands what onnxruntime takes on this machine
(`gpu_peers.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console
from rich.markup import escape

from bevel.backends import target as targets
from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices import find
from bevel.backends.gpu import statics
from bevel.backends.process.litter import scratch
from bevel.backends.program.resources import Resource
from bevel.calib.errors import UserError
from bevel.tools.bench import tables
from bevel.tools.bench.cells import Refusal
from bevel.tools.bench.gpu_peers import beside
from bevel.tools.bench.subjects import Subject, subjects
from bevel.tools.command import devices
from bevel.tools.command.quiet import quiet_libraries
from bevel.tools.compile import compile_model
from bevel.tools.report.report import Report
from bevel.tools.report.tables import seconds
from bevel.tools.run import manifest
from bevel.tools.run import product as products
from bevel.tools.run.options import Options
from bevel.tools.run.parsers import Dims
from bevel.tools.run.single_file import check_file, write_file
from bevel.tools.run.stages import Stages

DEFAULT_TARGETS = ("opencl", "cuda-sm87", "cuda-sm90")
VECTORS = 4  # that are compared, call by call
WRONG_OUTPUTS = 1


@dataclass(frozen=True)
class GpuRow:
    """`mismatches`: elements of outputs, or else calls, that differ; None where nothing here runs the target.
    `device_bytes`: of arena and weights; `bound_bytes`: what they cannot be below. `products`: calls that add up
    products of int8. Where there is machine code: those of them that take four at a time, or matrices, the most
    registers, all bytes that spill, and the least occupancy of its kernels. `least_s`: the sum of what calls on the
    device take at least, an estimate (`bevel.backends.gpu.roofline`). `beside`: seconds of onnxruntime's providers."""

    model: str
    target: str
    device: str | None
    mismatches: int | None
    latency_s: float | None
    calls: int
    on_device: int
    launches: int
    device_bytes: int
    bound_bytes: int
    moved_bytes: int
    products: int
    by_dots: int | None
    by_matrices: int | None
    least_s: float | None
    registers: int | None
    spilled: int | None
    occupancy: float | None
    beside: dict[str, float]

    @property
    def of_roofline(self) -> float | None:
        """The least that it takes by the chip's roofline, as a part of what was measured."""
        return self.least_s / self.latency_s if self.least_s is not None and self.latency_s else None


@dataclass(frozen=True)
class GpuSetup:
    """`samples`: for calibration, all where None; `dims`: sizes of dynamic dimensions, `tune` and its database, as for
    `optimize`."""

    samples: int | None = None
    dims: Dims = ()
    tune: int | None = None
    tune_database: Path | None = None


def show_bench(
    folder: Path | None, only: Sequence[str], names: Sequence[str], wanted: GpuSetup, output: Path | None
) -> None:
    """Run and print. Exits with 1 where a device computed something else than the references: a bug of ours."""
    quiet_libraries()
    if output is not None:
        check_file(output)
    console, pairs = tables.console(), list(product(subjects(folder, only), names or DEFAULT_TARGETS))
    with scratch(), TemporaryDirectory(prefix="bevel-bench-") as place:
        found = [run(*pair, Path(place) / f"{index}", wanted) for index, pair in enumerate(pairs)]
    rows = [one for one in found if isinstance(one, GpuRow)]
    show(console, rows)
    tables.show_refusals(console, [one for one in found if isinstance(one, Refusal)])
    if output:
        write_file(output, (json.dumps([asdict(one) for one in rows], indent=2, allow_nan=False) + "\n").encode())
    if any(one.mismatches for one in rows):
        raise click.exceptions.Exit(WRONG_OUTPUTS)


def run(subject: Subject, name: str, folder: Path, wanted: GpuSetup) -> GpuRow | Refusal:
    """Build in `folder`, which must not exist yet, and run where something here can."""
    try:
        here = any(device.missing() is None for device in find.devices(targets.load(name)))
        options = Options(
            model=subject.model,
            target=name,
            output=folder,
            calib=subject.calib,
            calib_samples=wanted.samples,
            dim=wanted.dims,
            tune=wanted.tune,
            tune_database=wanted.tune_database,
            vectors=VECTORS,
            device=None if here else devices.NONE,
        )
        told = compile_model(options, Stages())
    except UserError as error:
        return Refusal(subject.name, name, str(error))
    return row(subject.name, told, products.artifact_of(folder, manifest.read(folder)))


def row(model: str, told: Report, artifact: Artifact) -> GpuRow:
    calls, plan, measured = statics.load(artifact.folder, artifact.model), artifact.plan, told.measurement
    taken = [one for call in calls for one in call.taken]
    least = [call.least_s for call in calls if call.least_s is not None]
    multiplying = [call for call in calls if call.device and call.int8]
    on_device = artifact.takes.whole(Resource.DEVICE)
    return GpuRow(
        model,
        artifact.target,
        told.device.tool if measured and told.device else None,
        measured.mismatches if measured else None,
        measured.spent.get(Resource.LATENCY) if measured else None,
        len(calls),
        sum(call.device for call in calls),
        sum(call.launches for call in calls),
        on_device,
        on_device - plan.arena_bytes + plan.lower_bound,
        sum(call.moved for call in calls if call.device),
        len(multiplying),
        sum(any(one.dots for one in call.taken) for call in multiplying) if taken else None,
        sum(any(one.matrices for one in call.taken) for call in multiplying) if taken else None,
        sum(least) if least else None,
        max((one.registers for one in taken), default=None),
        sum(one.spilled for one in taken) if taken else None,
        min((one.occupancy for one in taken), default=None),
        beside(artifact.folder),
    )


def show(console: Console, rows: Sequence[GpuRow]) -> None:
    memories = ("device memory", "of its bound", "moved at least")
    runs = ("differ", "time", "of roofline", "on device", "launches")
    table = tables.numbers("network", "target", right=(*runs, *memories))
    for one in rows:
        differ = "-" if one.mismatches is None else f"{one.mismatches}"
        time = "-" if one.latency_s is None else seconds(one.latency_s)
        memory = (f"{one.device_bytes:,}", f"{one.device_bytes / one.bound_bytes:.3f}x", f"{one.moved_bytes:,}")
        calls = (f"{one.on_device} of {one.calls}", f"{one.launches}")
        part = "-" if one.of_roofline is None else f"{one.of_roofline:.0%}"
        table.add_row(escape(one.model), one.target, differ, time, part, *calls, *memory)
    tables.show(console, "Every call compared, from source and from kept binaries; bytes", table)
    show_machine_code(console, [one for one in rows if one.registers is not None])
    show_beside(console, {one.model: one.beside for one in rows})


def show_machine_code(console: Console, built: Sequence[GpuRow]) -> None:
    if not built:
        return
    right = ("int8 products", "by dp4a", "by mma", "registers", "spilled", "occupancy", "at least")
    table = tables.numbers("network", "target", right=right)
    for one in built:
        least = "-" if one.least_s is None else seconds(one.least_s)
        kinds = (f"{one.products}", f"{one.by_dots}", f"{one.by_matrices}")
        numbers = (*kinds, f"{one.registers}", f"{one.spilled}", f"{one.occupancy:.0%}", least)
        table.add_row(escape(one.model), one.target, *numbers)
    told = "most registers, bytes spilled, least occupancy of a kernel; time by roofline, an estimate without launches"
    tables.show(console, f"By machine code, not run: {told}", table)


def show_beside(console: Console, found: Mapping[str, Mapping[str, float]]) -> None:
    """found: by network, seconds by provider."""
    providers = list(dict.fromkeys(name for one in found.values() for name in one))
    table = tables.numbers("network", right=tuple(name.removesuffix("ExecutionProvider") for name in providers))
    for model, times in found.items():
        table.add_row(escape(model), *(seconds(times[name]) if name in times else "-" for name in providers))
    tables.show(console, "onnxruntime on quantized.onnx, here: by CPU is this machine's processor, no GPU", table)
