"""`bevel measure`: the code of a bundle on a device again, with the bundle's vectors or with other inputs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.host import Host
from bevel.backends.devices.qemu_user import QemuUser
from bevel.backends.process.litter import scratch
from bevel.backends.target import Target
from bevel.calib.errors import UserError
from bevel.passes.exchange.load import load_model
from bevel.tools.accuracy.library import tipped_only
from bevel.tools.command import devices
from bevel.tools.command.interruption import heeded
from bevel.tools.command.quiet import quiet_libraries
from bevel.tools.report import report, summary, tables
from bevel.tools.report.red_lines import runs_in_float
from bevel.tools.run import bundle, manifest, product, vectors
from bevel.tools.run.by_reference import held
from bevel.tools.run.data import SamplesOf
from bevel.tools.run.manifest import Manifest


def show_measurement(folder: Path, wanted: str | None, data: Path | None, count: int, as_json: bool) -> None:
    """Measure and print. Exits with 1 where outputs differ from integer.onnx."""
    quiet_libraries()
    device, measured, right = measure_bundle(folder, wanted, data, count)
    if as_json:
        click.echo(json.dumps({"device": asdict(device), "measurement": report.flat(asdict(measured))}, indent=2))
    else:
        tables.show_measurement(Console(), device, measured)
    if not right:
        raise click.exceptions.Exit(1)


def measure_bundle(
    folder: Path, wanted: str | None, data: Path | None, count: int
) -> tuple[report.Device, report.Measurement, bool]:
    """Run the bundle as it is; with `data`, the same code with other inputs. Last: whether nothing but last bits of
    float nodes differs.

    Raises UserError for a folder that is no bundle of this version and for files that are not as they were written.
    """
    made = manifest.read(folder)
    if differences := manifest.differences(folder, made):
        raise UserError(f"{folder}: {', '.join(map(str, differences))}; run optimize again")
    told = report.read(folder)
    manifest.check_settings(folder, made)
    target = product.target_of(made)
    device = devices.choose(target, wanted)
    if device is None:
        raise UserError("--device none measures nothing; name a device, or leave it out")
    built, tests = product.artifact_of(folder, made), vectors.load(folder)
    with scratch(), TemporaryDirectory(prefix="bevel-") as name:
        if data is not None:
            built, tests = rebuild(folder, made, target, Path(name), data, count)
        with heeded():
            measured = device.measure(built, tests)
            if measured.mismatches and runs_in_float(told):
                _, program = product.program_of(folder, made, target)
                measured = held(device, built, program, tests, measured)
        right = not measured.mismatches
        if not right and isinstance(device, Host | QemuUser) and runs_in_float(told):
            right = tipped_only(device, built, tests)
    return summary.device(measured), summary.measurement(measured, built), right


def rebuild(
    folder: Path, made: Manifest, target: Target, place: Path, data: Path, count: int
) -> tuple[Artifact, Vectors]:
    """The bundle's integer.onnx built again in `place`, with vectors from `data`: firmware holds its inputs.

    Raises UserError where the library is not the bundle's byte for byte, because a tool is another.
    """
    integer, program = product.program_of(folder, made, target)
    quantized = load_model(folder / bundle.QUANTIZED)  # the real values, whatever the edges' format
    tests = vectors.make_vectors(integer, program, SamplesOf.of(quantized, follows=False).open(data), count)
    artifact = product.build_again(folder, made, program, target, place, tests)
    if artifact.files[artifact.archive] != made.files[artifact.archive]:
        was = made.tools["compiler"]
        raise UserError(f"{folder} was built with {was}, here is {artifact.toolchain}: run optimize again")
    return artifact, tests
