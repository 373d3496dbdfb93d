"""`bevel`: the group of all commands. Each command imports what it needs when it runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from bevel.backends.process.interruption import nothing_at_stake
from bevel.tools.bench import cli as bench
from bevel.tools.calibration import cli as calibration
from bevel.tools.command import optimize
from bevel.tools.command.entry import run
from bevel.tools.command.parameters import PATH, parameter
from bevel.tools.pareto import cli as pareto


@click.group("bevel", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="bevel", message="%(package)s %(version)s")
def group() -> None:
    """Shape a float ONNX model for an edge device."""


group.add_command(optimize.command)
group.add_command(bench.group)
group.add_command(pareto.command)
group.add_command(calibration.command)


@group.command(short_help="Run a bundle on a device again.")
@click.argument("bundle", type=PATH)
@parameter("device", metavar="NAME", help="Where; default: the target's first device that works here.")
@click.option("--data", type=PATH, metavar="FILE", help="Other inputs than the bundle's vectors.")
@parameter("vectors", help="How many samples of --data.")
@click.option("--json", "as_json", is_flag=True, help="Print device and measurement as report.json has them.")
def measure(bundle: Path, device: str | None, data: Path | None, vectors: int, as_json: bool) -> None:
    """Run BUNDLE (the folder that optimize wrote) on a device again, and compare before counting."""
    with nothing_at_stake():
        from bevel.tools.command.measure import show_measurement

    show_measurement(bundle, device, data, vectors, as_json)


@group.command(short_help="Check a bundle; draw its arena and its kernels.")
@click.argument("bundle", type=PATH)
def inspect(bundle: Path) -> None:
    """Check the files of BUNDLE, then draw its arena, its kernels and the notes."""
    with nothing_at_stake():
        from bevel.tools.command.inspect import show_bundle

    show_bundle(bundle)


@group.command("export-qonnx", short_help="Write a quantized model as QONNX.")
@click.argument("model", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE", help="File to write.")
def export_qonnx(model: Path, output: Path) -> None:
    """Write MODEL (a QDQ model, or the folder that optimize wrote) with Quant, BipolarQuant and FloatQuant nodes."""
    with nothing_at_stake():
        from bevel.tools.command.qonnx import write_qonnx

    write_qonnx(model, output)


@group.command()
def targets() -> None:
    """List the targets, their memories and devices."""
    with nothing_at_stake():
        from bevel.tools.command.doctor import show_targets

    show_targets()


@group.command(short_help="List the ways to quantize.")
def recipes() -> None:
    """List the recipes that ship: what each does, by which passes, from which source, and what it showed here."""
    with nothing_at_stake():
        from bevel.tools.command.recipes import show_recipes

    show_recipes()


@group.command(short_help="List what runs in integers.")
@parameter("target", required=False, help="And say what becomes of the rest on this target.")
@click.option("--markdown", is_flag=True, help="As a table for a README.")
def operators(target: str | None, markdown: bool) -> None:
    """List the ONNX operators that every target computes in integers, with their limits."""
    with nothing_at_stake():
        from bevel.tools.command.operators import show_operators

    show_operators(target, markdown)


@group.command(short_help="List every tool, found or not.")
def doctor() -> None:
    """List every tool that Bevel looks for, found or not, and what it enables."""
    with nothing_at_stake():
        from bevel.tools.command.doctor import show_tools

    show_tools()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `bevel`: the exit code."""
    return run(group, arguments)


if __name__ == "__main__":
    sys.exit(main())
