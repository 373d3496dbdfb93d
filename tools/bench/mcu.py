"""`bevel bench mcu`: every network on every core, in one table, and beside another system's numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.console import Console

from bevel.backends import target as targets
from bevel.backends.process.litter import scratch
from bevel.calib.errors import UserError
from bevel.tools.bench import reference, tables
from bevel.tools.bench.cells import Cell, Refusal, Setup, run_cell
from bevel.tools.bench.reference import Network
from bevel.tools.bench.subjects import Subject, subjects
from bevel.tools.command import devices
from bevel.tools.command.quiet import quiet_libraries
from bevel.tools.report.report import flat
from bevel.tools.run import bundle
from bevel.tools.run.single_file import check_file, write_file
from bevel.tools.run.stages import Bars, Display, Silent, Stages

DEFAULT_CORES = ("cortex-m4", "cortex-m7", "cortex-m55")
WRONG_OUTPUTS = 1


def show_bench(
    folder: Path | None,
    only: Sequence[str],
    cores: Sequence[str],
    compared: Path | None,
    setup: Setup,
    output: Path | None,
) -> None:
    """Run and print. Exits with 1 where a device computed something else than integer.onnx: a bug of ours."""
    quiet_libraries()
    if output is not None:
        check_file(output)
    networks = reference.read(compared) if compared else ()
    found = subjects(folder, only)
    console = tables.console()
    wanted = runnable(cores or DEFAULT_CORES, named=bool(cores), console=console)
    with Bars(Console(stderr=True)) if sys.stderr.isatty() else nullcontext(Silent()) as display:
        results = run_all(found, wanted, setup, display)
    cells = [one for one in results if isinstance(one, Cell)]
    tables.show_cells(console, cells)
    tables.show_refusals(console, [one for one in results if isinstance(one, Refusal)])
    ratios = reference.ratios(cells, networks)
    tables.show_estimates(console, cells)
    if compared:
        title = f"As a fraction of {compared.name}: below 1 is less"
        tables.show_ratios(console, ratios, reference.means(ratios), title)
        tables.show_unmatched(console, reference.unmatched(cells, networks))
    if output:
        write_file(output, (json.dumps(to_json(results, networks), indent=2, allow_nan=False) + "\n").encode())
    if any(cell.mismatches for cell in cells):
        raise click.exceptions.Exit(WRONG_OUTPUTS)


def runnable(cores: Sequence[str], named: bool, console: Console) -> list[str]:
    """The cores that something here runs. Raises UserError for the first that nothing does, where it was asked for."""
    found = []
    for core in cores:
        try:
            devices.choose(targets.load(core), None)
            found.append(core)
        except UserError as error:
            if named:
                raise
            console.print(f"{core} is left out: {error}", highlight=False, markup=False, soft_wrap=True)
    return found


def run_all(found: Sequence[Subject], cores: Sequence[str], setup: Setup, display: Display) -> list[Cell | Refusal]:
    pairs = list(product(found, cores))
    results = []
    with scratch(), TemporaryDirectory(prefix="bevel-bench-") as place, Stages(display)("bench") as advance:
        for index, (subject, core) in enumerate(pairs):
            advance(index, len(pairs))
            results.append(run_cell(subject, core, Path(place) / f"{index}", setup, Stages()))
    return results


def to_json(results: Sequence[Cell | Refusal], networks: Sequence[Network]) -> dict[str, Any]:
    """The same for the same tools: no times and no paths."""
    cells = [one for one in results if isinstance(one, Cell)]
    ratios = reference.ratios(cells, networks)
    return {
        "bevel": bundle.version(),
        "cells": [flat(asdict(one)) for one in cells],
        "refused": [asdict(one) for one in results if isinstance(one, Refusal)],
        "ratios": [asdict(one) for one in ratios],
        "geometric_means": [asdict(one) for one in reference.means(ratios)],
    }
